"""Key material out of texts that are kept: what looks like a key, and what this process was told to hide."""

import re

REDACTED = "[redacted]"
SHORTEST = 12
"""Characters. Shorter words are no keys, and hiding them would blank out ordinary ones."""

REMEMBERED = 100_000

PREFIXES = (
    *("sk-", "rk-", "pk-"),  # OpenAI, Anthropic (sk-ant-), OpenRouter (sk-or-), DeepSeek, …
    *("tally_", "gsk_", "xai-", "hf_", "pplx-", "fw_", "r8_", "csk-"),  # ours, Groq, xAI, Hugging Face, …
    *("AIza", "AKIA", "ASIA"),  # Google, AWS
    "eyJ",  # the parts of a JSON Web Token: a service token, a grant
)
"""How keys begin, as the providers document it and secret scanners look for it."""

_WORD = re.compile(r"(?:\\[abfnrtv]|\\u[0-9a-fA-F]{4})?([\w-]+)", re.ASCII)
"""An escape is no part of the word after it: `\\nkey` is the word `key`."""

_TOKEN = re.compile(r"eyJ[\w-]*\.[\w-]*\.[\w-]*", re.ASCII)
_AFTER_SCHEME = re.compile(r"(?<=earer )[^\s\"'\\,;)\]}]{8,}|(?<=asic )[A-Za-z0-9+/=]{12,}")


class Secrets:
    """Which words to hide. It keeps their hashes alone, so that it holds no key longer than who told it."""

    def __init__(self) -> None:
        self._hashes: dict[int, None] = {}

    def hide(self, secret: str) -> None:
        """Hide this secret in every text from now on; the oldest of 100,000 words is forgotten first."""
        for word in _WORD.findall(secret):
            if len(word) >= SHORTEST:
                self._hashes[hash(word)] = None
        while len(self._hashes) > REMEMBERED:
            del self._hashes[next(iter(self._hashes))]

    def redacted(self, text: str) -> str:
        """Return the text without the words to hide, and without what looks like a key."""
        if "eyJ" in text:
            text = _TOKEN.sub(REDACTED, text)
        if "earer " in text or "asic " in text:
            text = _AFTER_SCHEME.sub(REDACTED, text)
        for word in _WORD.findall(text):
            if len(word) >= SHORTEST and (hash(word) in self._hashes or word.startswith(PREFIXES)):
                text = text.replace(word, REDACTED)
        return text


SECRETS = Secrets()
"""This process's own, as its log is the process's: whoever takes a key in hand says so here."""
