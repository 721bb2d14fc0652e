"""The local model server as a part of a run; the server itself is `edgechat.local.model_server`."""

import http.client
import json
import sys
import urllib.request
from pathlib import Path

from edgechat.local.data_dir import kept_secret
from edgechat.local.process import LocalError
from edgechat.local.server import Server

_WHEELS_MISSING, _FILE_UNUSABLE = 3, 4
_PROJECT = Path(__file__).parents[2]
CHECK_SECONDS = 5.0
# Calls on this machine must not go through a proxy from the environment.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Model(Server):
    """Gemini's REST over a small local model, or over scripted answers, for clients with its key."""

    start_seconds = 120.0
    stop_seconds = 5.0
    not_ready = (OSError, LocalError, http.client.HTTPException)

    def __init__(self, data_dir: Path, *, scripted: bool, gguf: Path | None = None, name: str = "model") -> None:
        super().__init__(name, data_dir)
        self._gguf = gguf
        self._set_scripted(scripted)
        self.wheels_were_missing = False
        self._ready_file = self.folder / "url"
        self._key_file = self.folder / "key"

    def _set_scripted(self, scripted: bool) -> None:
        self.scripted = scripted
        self.label = "Model (scripted)" if scripted else "Model (local)"

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end."""
        return f"http://{self.address}"

    @property
    def key(self) -> str:
        """The API key that the SDK must send."""
        return kept_secret(self._key_file)

    def prepare(self) -> None:
        self.folder.chmod(0o700)
        _ = self.key
        self._ready_file.unlink(missing_ok=True)

    def command(self, port: int) -> list[str]:
        files = ["--ready-file", str(self._ready_file), "--key-file", str(self._key_file)]
        options = ["--port", str(port), *files, "--die-with-parent"]
        if self.scripted:
            options.append("--scripted")
        elif self._gguf is not None:
            options += ["--gguf", str(self._gguf)]
        return [sys.executable, "-m", "edgechat.local.model_server", *options]

    def working_folder(self) -> Path:
        return _PROJECT

    def check(self) -> None:
        serves = self._ready_file.read_text(encoding="utf-8").strip()
        if not serves:
            raise LocalError("it has not loaded yet")
        if serves != self.url:
            raise LocalError(f"it serves {serves} instead of port {self.port}")
        with _open(f"{self.url}/health", timeout=CHECK_SECONDS) as answer:
            # The name of the model that answers, like `local-smollm2-135m-instruct`.
            self.version = json.load(answer)["model"]

    def start(self) -> None:
        """Start like every server. Without the model's wheels it answers from its script, and reports that."""
        try:
            super().start()
        except LocalError as error:
            if self._gguf is not None and self.exit_code() == _FILE_UNUSABLE:
                raise LocalError(f"LOCAL_MODEL_GGUF: {self.log_text().strip().splitlines()[-1]}") from error
            if self.scripted or self.exit_code() != _WHEELS_MISSING:
                raise
            self.wheels_were_missing = True
            self._set_scripted(True)
            super().start()
