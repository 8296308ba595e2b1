"""`python -m reelspace.gateway --store DIR --backend local --port P`, or with `--triton-grpc` and `--triton-http`: one gateway process."""

import argparse
import sys
from collections.abc import Sequence

from reelspace.core.program import run_main
from reelspace.core.settings import read
from reelspace.gateway.process import run
from reelspace.gateway.settings import GatewaySettings


def parse_arguments(arguments: Sequence[str]) -> GatewaySettings:
    """Read the command line strictly."""
    parser = argparse.ArgumentParser(prog="python -m reelspace.gateway", description="Serve what was promoted.", allow_abbrev=False)
    parser.add_argument("--store", required=True, help="directory or s3://bucket/prefix")
    parser.add_argument("--backend", default="triton", help="where shards run: triton, local for this process, or none")
    parser.add_argument("--triton-grpc", help="host:port of Triton's gRPC")
    parser.add_argument("--triton-http", help="host:port of Triton's HTTP")
    parser.add_argument("--triton-replicas", nargs="*", default=(), help="host:port of the gRPC of further Tritons with every shard")
    parser.add_argument("--encoders-grpc", nargs="*", default=(), help="host:port of the gRPC of Tritons with encoders, if others")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes a free one")
    parser.add_argument("--grpc-port", type=int, help="port to listen on for gRPC; 0 takes a free one")
    parser.add_argument("--share-ports", action="store_true", help="let other gateway processes listen on the same ports")
    parser.add_argument("--keys-file", help="JSON file of API keys")
    parser.add_argument("--without-keys", action="store_true", help="let everyone in who reaches a host other than this machine's own")
    parser.add_argument("--tls-cert", help="PEM file of the certificate and its chain")
    parser.add_argument("--tls-key", help="PEM file of the certificate's private key")
    parser.add_argument("--admin-port", type=int, help="port for health and metrics; 0 takes a free one")
    parser.add_argument("--access-log", action="store_true", help="write a line of JSON on stderr for every answered request")
    parser.add_argument("--drain-s", type=float, default=0.0, help="seconds of being unready before the end")
    parser.add_argument("--without-controller", action="store_true", help="leave generations to other processes")
    return read(GatewaySettings, vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str]) -> None:
    """Serve as the command line says; see `run`."""
    run(parse_arguments(arguments))


if __name__ == "__main__":
    sys.exit(run_main(lambda: main(sys.argv[1:])))
