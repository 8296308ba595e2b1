"""Asks every encoder that serves for its tensors, and those of texts for a vector, through a gateway; ends with 1 where one goes wrong."""

import argparse
import json
import math
import ssl
import sys
import urllib.request
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("--triton", required=True)
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--ca-file")
    given = parser.parse_args()
    headers = {"Content-Type": "application/json"}
    if given.key_file:
        headers["api-key"] = given.key_file.read_text().strip()
    trusted = ssl.create_default_context(cafile=given.ca_file) if given.ca_file else None

    def ask(url: str, body: object = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        sent = headers if url.startswith(given.url) else {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, data, sent), timeout=60, context=trusted) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    ask(f"{given.url}/v2/health/live")
    ask(f"{given.url}/v2/health/ready")
    loaded = {one["name"] for one in ask(f"{given.triton}/v2/repository/index", {"ready": True})}
    models = sorted(name for name in loaded if not name.endswith("_graph"))
    if not models:
        print("gateway and Triton answer; nothing is promoted, so no encoder was asked")
        return 0
    for model in models:
        facts = ask(f"{given.url}/v2/models/{model}")
        assert facts["versions"], f"expected a version of {model}, got {facts}"
        needed = [one for one in facts["inputs"] if one["name"] not in facts["parameters"]["optional_inputs"]]
        if [(one["name"], one["datatype"]) for one in needed] == [("TEXT", "BYTES")]:
            text = {"name": "TEXT", "datatype": "BYTES", "shape": [1, 1], "data": ["helm test"]}
            answer = ask(f"{given.url}/v2/models/{model}/infer", {"inputs": [text]})
            numbers = [number for one in answer["outputs"] if one["datatype"].startswith("FP") for number in one["data"]]
            assert sum(map(math.isfinite, numbers)) == len(numbers) > 0, f"{model} answered without finite numbers"
            print(f"{model} {answer['model_version']} made a vector")
        else:
            print(f"{model} {', '.join(facts['versions'])} told its tensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
