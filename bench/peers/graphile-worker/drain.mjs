// Drains a backlog of no-op jobs with graphile-worker and prints one JSON line
// {"jobs","elapsed_ms"}: from the first task's start until no job is left in its table.
//
// Usage: DATABASE_URL=postgres://… node drain.mjs JOBS plain|batching
import { Logger, makeWorkerUtils, run } from "graphile-worker";

const jobs = Number(process.argv[2]);
const setting = process.argv[3];
const batch = 500;
const connectionString = process.env.DATABASE_URL;
if (!connectionString || !Number.isInteger(jobs) || jobs < 1 || !["plain", "batching"].includes(setting)) {
  console.error("usage: DATABASE_URL=postgres://… node drain.mjs JOBS plain|batching");
  process.exit(64);
}

// One line per job would be measured along with the jobs.
const logger = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});

// Its guide to throughput: jobs fetched into a local queue and finished in batches.
const batching = { localQueue: { size: batch }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
const preset = {
  worker: {
    connectionString,
    concurrentJobs: 24,
    maxPoolSize: 26,
    pollInterval: 500,
    ...(setting === "batching" ? batching : {}),
  },
};

const utils = await makeWorkerUtils({ connectionString, logger });
await utils.migrate();
for (let added = 0; added < jobs; added += batch) {
  const size = Math.min(batch, jobs - added);
  await utils.addJobs(
    Array.from({ length: size }, (_, n) => ({ identifier: "bench_noop", payload: { n: added + n } })),
  );
}

let started = null;
let ran = 0;
let allRan;
const everyTaskRan = new Promise((resolve) => (allRan = resolve));
const runner = await run({
  preset,
  logger,
  noHandleSignals: true,
  parsedCronItems: [],
  taskList: {
    bench_noop: async () => {
      started ??= performance.now();
      if (++ran === jobs) allRan();
    },
  },
});
await everyTaskRan;
const left = () =>
  utils.withPgClient((client) =>
    client.query("select exists (select from graphile_worker._private_jobs) as any"),
  );
while ((await left()).rows[0].any) await new Promise((resolve) => setTimeout(resolve, 2));
const elapsedMs = performance.now() - started;
await runner.stop();
await utils.release();
console.log(JSON.stringify({ jobs: ran, elapsed_ms: elapsedMs }));
