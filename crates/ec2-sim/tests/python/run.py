"""Runs the Python contract suite: makes its virtual environment when needed, then starts unittest in it.

Uses the standard library alone. The environment is made once for each content of requirements.txt, below
the target folder. Where it cannot be made, as without a network, the suite is skipped and says so; with
CI=true that is a failure. Arguments go to unittest: `run.py -k paginator`.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import venv

SUITE = pathlib.Path(__file__).resolve().parent
REPOSITORY = SUITE.parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
REQUIREMENTS = SUITE / "requirements.txt"


def environment() -> pathlib.Path:
    """The folder of the virtual environment, made and filled when it is not there yet."""
    content = REQUIREMENTS.read_bytes() + sys.version.encode()
    folder = TARGET / "python" / hashlib.sha256(content).hexdigest()[:16]
    ready = folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", REQUIREMENTS], check=True)
        ready.touch()
    return folder


def simulator() -> pathlib.Path:
    """The program under test."""
    program = pathlib.Path(os.environ.get("EC2_SIM", TARGET / "debug" / "ec2-sim"))
    if not program.exists():
        sys.exit(f"{program} does not exist: build it with `cargo build --package ec2-sim`, or name another with EC2_SIM")
    return program


def variables(folder: pathlib.Path) -> dict[str, str]:
    """What the tests see of the outside: nothing of the machine's own AWS settings, and no proxy to loopback."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "EC2_SIM": str(simulator()),
        "NO_PROXY": "127.0.0.1",
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def main() -> int:
    try:
        folder = environment()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"\nSKIPPED: the Python contract suite has no boto3 and no AWS CLI: {error}", file=sys.stderr)
        if os.environ.get("CI") == "true":
            print("With CI=true that is a failure.", file=sys.stderr)
            return 1
        return 0
    unittest = [folder / "bin" / "python", "-m", "unittest", "discover", "--start-directory", SUITE, "--top-level-directory", SUITE]
    return subprocess.run([*unittest, *sys.argv[1:]], env=variables(folder), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
