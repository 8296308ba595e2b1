"""Creates a collection through a gateway, writes, searches, deletes; ends with 1 where one of it goes wrong."""

import argparse
import json
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--ca-file")
    given = parser.parse_args()
    headers = {"Content-Type": "application/json"}
    if given.key_file:
        headers["api-key"] = given.key_file.read_text().strip()
    trusted = ssl.create_default_context(cafile=given.ca_file) if given.ca_file else None

    def ask(method: str, path: str, body: object = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(given.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60, context=trusted) as answer:
                return json.load(answer)["result"]
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} {path}: {error.code} {error.read().decode()}")

    place = f"/collections/helm-test-{secrets.token_hex(4)}"
    ask("PUT", place, {"vectors": {"size": 4, "distance": "Cosine"}})
    try:
        points = [{"id": number, "vector": [1.0, number, 0.0, 0.5], "payload": {"number": number}} for number in range(20)]
        ask("PUT", f"{place}/points?wait=true", {"points": points})
        found = ask("POST", f"{place}/points/query", {"query": points[7]["vector"], "limit": 1, "with_payload": True})
        hit = found["points"][0]
        assert (hit["id"], hit["payload"]) == (7, {"number": 7}), f"expected row 7, got {hit}"
        ask("POST", f"{place}/points/delete?wait=true", {"points": [7]})
        found = ask("POST", f"{place}/points/query", {"query": points[7]["vector"], "limit": 1})
        assert found["points"][0]["id"] != 7, "row 7 was found after its deletion"
    finally:
        ask("DELETE", place)
    print("a collection was made, written to, searched and deleted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
