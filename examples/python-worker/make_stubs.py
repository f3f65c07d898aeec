"""Generates the gRPC stubs from proto/forge/v1/worker.proto into stubs/, when they are missing or old."""

import os
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROTO_ROOT = HERE.parent.parent / "proto"
PROTO = PROTO_ROOT / "forge" / "v1" / "worker.proto"
STUBS = HERE / "stubs"
NAMES = ("forge/v1/worker_pb2.py", "forge/v1/worker_pb2_grpc.py")


def fresh() -> bool:
    """Whether the stubs exist and are not older than the .proto file."""
    newest = PROTO.stat().st_mtime
    return all((STUBS / name).exists() and (STUBS / name).stat().st_mtime >= newest for name in NAMES)


def make() -> None:
    """Generates the stubs. Safe when several workers start at once: each file is moved into place whole."""
    import grpc_tools
    from grpc_tools import protoc

    STUBS.mkdir(exist_ok=True)
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory(dir=STUBS) as out:
        status = protoc.main(
            ["protoc", f"-I{PROTO_ROOT}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}", str(PROTO)]
        )
        if status != 0:
            sys.exit(f"{PROTO} could not be compiled")
        for name in NAMES:
            target = STUBS / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(pathlib.Path(out) / name, target)


def load():
    """The modules of messages and of the service."""
    if not fresh():
        make()
    sys.path.insert(0, str(STUBS))
    from forge.v1 import worker_pb2, worker_pb2_grpc

    return worker_pb2, worker_pb2_grpc


if __name__ == "__main__":
    make()
    print(STUBS)
