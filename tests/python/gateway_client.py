"""Calls functions over gRPC: one JSON order per line in, one JSON answer per line out."""

import json
import pathlib
import sys

import grpc
import grpc_tools

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(pathlib.Path(grpc_tools.__file__).parent / "_proto"))
sys.path.insert(0, str(ROOT / "proto"))
messages, services = grpc.protos_and_services("forge/v1/gateway.proto")


def call(stub, order):
    request = messages.CallRequest(name=order["name"], args_json=order.get("args", ""))
    if "key" in order:
        request.idempotency_key = order["key"]
    request.respond_async = order.get("later", False)
    metadata = [("authorization", f"Bearer {order['token']}")] if "token" in order else []
    try:
        answer = stub.Call(request, metadata=metadata, timeout=30)
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        return {"status": error.code().name, "code": trailers.get("forge-code"), "detail": error.details()}
    return {
        "status": "OK",
        "value": json.loads(answer.value_json) if answer.value_json else None,
        "job": answer.job_id,
        "http_status": answer.http_status,
        "replayed": answer.replayed,
    }


def main():
    with grpc.insecure_channel(sys.argv[1]) as channel:
        stub = services.GatewayStub(channel)
        for line in sys.stdin:
            print(json.dumps(call(stub, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
