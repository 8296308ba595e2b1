"""What a process between clients and Triton costs in Python at the least: messages of gRPC passed on as bytes, unread.

`python -m benchmarks.serving_parts.passthrough TRITON` prints its address as a line of JSON.
"""

import asyncio
import sys

import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]
import orjson

INFER = "/inference.GRPCInferenceService/ModelInfer"
UNBOUNDED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


async def serve(triton: str) -> None:
    """Pass inferences on until SIGTERM."""
    _, service, method = INFER.split("/")
    call = grpc.aio.insecure_channel(triton, UNBOUNDED).unary_unary(INFER)

    async def infer(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
        answer: bytes = await call(data)
        return answer

    server = grpc.aio.server(options=UNBOUNDED)
    handlers = {method: grpc.unary_unary_rpc_method_handler(infer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(orjson.dumps({"grpc": f"127.0.0.1:{port}"}).decode() + "\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
