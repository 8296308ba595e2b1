"""An application whose /openapi.json has the dialect's schemas."""

from typing import Any

from fastapi import FastAPI

from reelspace.search.access.schemas.operations import COMPONENTS, PARTS


class DescribedApp(FastAPI):
    """FastAPI knows only schemas of models that it parses with; our parsers are faster, and say what is wrong in the dialect's words."""

    def openapi(self) -> dict[str, Any]:
        """Give the document, made when it is asked for first."""
        document = super().openapi()
        document.setdefault("components", {}).setdefault("schemas", {}).update(COMPONENTS)
        for operations in document["paths"].values():
            for operation in operations.values():
                for parameter in operation.get("parameters", []):
                    if parameter["in"] == "path" and parameter["name"] in PARTS:
                        parameter["schema"] = PARTS[parameter["name"]]
        return document
