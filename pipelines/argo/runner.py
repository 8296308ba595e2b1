"""The program that a container runs around kfp's executor, in the place of the shell that kfp writes."""

from typing import Final

OUTPUTS: Final = "/tmp/kfp/outputs"
INPUTS: Final = "/kfp/inputs"

# Two things that kfp's launcher does on its own platform and its shell line does not: signals reach Python itself (a shell would
# keep SIGTERM), and an error's `exit_code` becomes the exit code of the container. The argument of Argo's placeholders is two braces:
# none may stand here.
EXECUTOR: Final = """\
import json, os, pathlib, runpy, sys, tempfile, traceback

os.environ["_KFP_RUNTIME"] = "true"
module = pathlib.Path(tempfile.mkdtemp(), "component.py")
module.write_text(sys.argv[1])
sys.argv = ["executor_main", "--component_module_path", str(module), *sys.argv[2:]]
try:
    runpy.run_module("kfp.dsl.executor_main", run_name="__main__", alter_sys=True)
except Exception as error:
    traceback.print_exc()
    sys.exit(getattr(error, "exit_code", 1))
"""

# A third one, where nobody reads the executor's own output: returned values become files, one each.
RUNNER: Final = f"""\
{EXECUTOR}\
outputs = pathlib.Path("{OUTPUTS}")
returned = json.loads((outputs / "executor_output.json").read_text()).get("parameterValues") or dict()
(outputs / "parameters").mkdir(exist_ok=True)
for name, value in returned.items():
    (outputs / "parameters" / name).write_text(value if isinstance(value, str) else json.dumps(value))
"""
