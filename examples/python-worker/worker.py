"""A remote worker for Forge in Python: connects to a node, runs the jobs it is sent, answers.

    python worker.py --node 127.0.0.1:7170 --api-key KEY --kind text.analyse --capability general --max-jobs 8

Prints `ready` on stdout once it is registered, and what it does on stderr. With several --node it keeps to one and
goes on to the next when that one stops or dies. SIGTERM: finish what runs and leave.
"""

import argparse
import concurrent.futures
import datetime
import itertools
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time

import grpc

import make_stubs
from handlers import HANDLERS, Fail, Job, Snooze

pb, pb_grpc = make_stubs.load()
log = logging.getLogger("worker")

#: Seconds between two rounds over all nodes when none takes this worker.
PAUSE_MIN, PAUSE_MAX = 0.25, 5.0
#: Seconds to wait for the answer to Register.
REGISTER_TIMEOUT = 10
#: Messages larger than gRPC's default of 4 MiB come when the node's grpc.message_limit was raised.
MESSAGE_MAX = 64 << 20
CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", MESSAGE_MAX),
    ("grpc.max_send_message_length", MESSAGE_MAX),
    # Reconnecting is done here, node by node.
    ("grpc.enable_retries", 0),
]


def say(word):
    """Tells whoever started this worker, who may have stopped listening: that is no reason to stop working."""
    try:
        print(word, flush=True)
    except OSError as error:
        log.debug("nobody reads stdout: %s", error)


class Session:
    """One stream to one node. Answers of jobs that outlive it are dropped: those jobs run again elsewhere."""

    def __init__(self, options, pool):
        self.options = options
        self.pool = pool
        self.outgoing = queue.SimpleQueue()
        self.running = {}
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.registered = threading.Event()

    def messages(self):
        """What is sent: the registration, then answers, and a heartbeat when there is nothing to say."""
        yield pb.WorkRequest(
            register=pb.Register(
                worker=self.options.name,
                kinds=self.options.kind,
                capabilities=self.options.capability,
                max_in_flight=self.options.max_jobs,
            )
        )
        while not self.over.is_set():
            try:
                message = self.outgoing.get(timeout=5)
            except queue.Empty:
                message = pb.WorkRequest(heartbeat=pb.Heartbeat())
            if message is None:
                return
            yield message

    def send(self, **message):
        if not self.over.is_set():
            self.outgoing.put(pb.WorkRequest(**message))

    def receive(self, response):
        what = response.WhichOneof("message")
        if what == "registered":
            self.registered.set()
            log.info("registered with node %s", response.registered.node_id)
            say("ready")
        elif what == "job":
            cancelled = threading.Event()
            with self.lock:
                self.running[response.job.id, response.job.lease] = cancelled
            self.pool.submit(self.run, response.job, cancelled)
        elif what == "cancel":
            with self.lock:
                cancelled = self.running.get((response.cancel.id, response.cancel.lease))
            if cancelled:
                log.info("job %s: %s", response.cancel.id, response.cancel.reason)
                cancelled.set()
        elif what == "drain":
            log.info("the node stops; finishing %d jobs", len(self.running))

    def run(self, job, cancelled):
        """Runs one job and answers."""
        key = {"id": job.id, "lease": job.lease}
        started = time.monotonic()
        try:
            answer = self.answer(job, key, cancelled)
        finally:
            with self.lock:
                self.running.pop((job.id, job.lease), None)
        self.send(**answer)
        log.info("job %s %s attempt %d: %s, %.0f ms", job.id, job.kind, job.attempt, *answer, (time.monotonic() - started) * 1000)

    def answer(self, job, key, cancelled):
        def progress(percent, message=""):
            self.send(progress=pb.Progress(**key, percent=percent, message=message))

        try:
            handler = HANDLERS[job.kind]
            task = Job(job.id, job.kind, json.loads(job.args_json), job.attempt, job.max_attempts, job.traceparent, cancelled, progress)
            result = handler(task)
            text = "" if result is None else json.dumps(result, ensure_ascii=False, allow_nan=False)
            return {"complete": pb.Complete(**key, result_json=text)}
        except Snooze as snooze:
            return {"snooze": pb.Snooze(**key, delay=datetime.timedelta(seconds=snooze.seconds))}
        except Fail as failure:
            fail = pb.Fail(**key, error=str(failure), retry=failure.retry)
            if failure.retry_in is not None:
                fail.retry_in.FromTimedelta(datetime.timedelta(seconds=failure.retry_in))
            return {"fail": fail}
        except KeyError as error:
            if job.kind in HANDLERS:
                return {"fail": pb.Fail(**key, error=f"KeyError: {error}")}
            return {"fail": pb.Fail(**key, error=f"worker {self.options.name} has no handler for kind {job.kind}")}
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is this job's failure, not the worker's
            return {"fail": pb.Fail(**key, error=f"{type(error).__name__}: {error}")}

    def end(self):
        self.over.set()
        self.outgoing.put(None)
        with self.lock:
            for cancelled in self.running.values():
                cancelled.set()


class Worker:
    """Keeps one session at a time, with one of the nodes."""

    def __init__(self, options):
        self.options = options
        self.pool = concurrent.futures.ThreadPoolExecutor(options.max_jobs, thread_name_prefix="job")
        self.stopping = threading.Event()
        self.session = None

    def stop(self, *_):
        """Finishes what runs, takes nothing new, leaves."""
        self.stopping.set()
        session = self.session
        if session:
            log.info("stopping; finishing %d jobs", len(session.running))
            session.send(leave=pb.Leave())

    def work(self):
        pause = PAUSE_MIN
        nodes = itertools.cycle(self.options.node)
        failures = 0
        while not self.stopping.is_set():
            if self.serve(next(nodes)):
                failures, pause = 0, PAUSE_MIN
                continue
            failures += 1
            if failures % len(self.options.node) == 0:
                self.stopping.wait(pause)
                pause = min(pause * 2, PAUSE_MAX)
        self.pool.shutdown(wait=True)

    def serve(self, node):
        """One session with `node`, until it ends; whether the node took this worker at all."""
        session = self.session = Session(self.options, self.pool)
        with grpc.insecure_channel(node, options=CHANNEL_OPTIONS) as channel:
            metadata = [("authorization", f"Bearer {self.options.api_key}")]
            responses = pb_grpc.WorkerStub(channel).Work(session.messages(), metadata=metadata)
            watchdog = threading.Timer(REGISTER_TIMEOUT, lambda: session.registered.is_set() or responses.cancel())
            watchdog.daemon = True
            watchdog.start()
            try:
                for response in responses:
                    session.receive(response)
                log.info("%s ended the stream", node)
            except grpc.RpcError as error:
                log.warning("%s: %s: %s", node, error.code().name, error.details())
                if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT):
                    sys.exit(f"{error.code().name}: {error.details()}")
            finally:
                watchdog.cancel()
                session.end()
        return session.registered.is_set()


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", "--address", action="append", required=True, help="host:port of a node's gRPC door; several to fail over between")
    parser.add_argument("--api-key", default=os.environ.get("FORGE_API_KEY"), help="key of role forge_service (default: $FORGE_API_KEY)")
    parser.add_argument("--kind", "--kinds", action="append", default=[], help="a job kind to run, or several with commas (default: all that match the capabilities)")
    parser.add_argument("--capability", action="append", default=[], help="a capability to offer (default: general)")
    parser.add_argument("--max-jobs", type=int, default=4, help="jobs run at once")
    parser.add_argument("--name", default=f"python@{socket.gethostname()}:{os.getpid()}", help="shown to people")
    options = parser.parse_args(arguments)
    if not options.api_key:
        parser.error("--api-key is missing; make one with SELECT forge.create_api_key('worker', 'forge_service')")
    options.kind = [kind for kinds in options.kind for kind in kinds.split(",") if kind]
    unknown = [kind for kind in options.kind if kind not in HANDLERS]
    if unknown:
        parser.error(f"no handler for kind {', '.join(unknown)}; there are {', '.join(HANDLERS)}")
    return options


def main():
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    worker = Worker(parse(sys.argv[1:]))
    # Not in the handler itself: it may interrupt a lock that stop() needs.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=worker.stop, daemon=True).start())
    worker.work()


if __name__ == "__main__":
    main()
