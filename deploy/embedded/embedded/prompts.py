"""The demo's own prompts: eight everyday jobs of a platform's teams, each on twenty-seven subjects."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

UNKNOWN_MODEL = "in-house-finetune-7"
"""No price list knows it: its runs are shown as unpriced, never as free."""

MODELS = (
    ("openai", "gpt-4o-mini"),
    ("anthropic", "claude-3-haiku-20240307"),
    ("openai", "gpt-4.1"),
    ("anthropic", "claude-sonnet-4-5"),
    ("openai", "gpt-3.5-turbo"),
    ("anthropic", "claude-haiku-4-5"),
    ("openai", "gpt-4-turbo"),
    ("anthropic", "claude-3-opus-20240229"),
    ("openai", "gpt-4"),
    ("openai", "gpt-5-mini"),
    ("openai", UNKNOWN_MODEL),
)
"""Provider and model, taken by turns."""

PROVIDERS = sorted({provider for provider, _ in MODELS})

JOBS = {
    "support-reply": (
        "support",
        "You answer customers of a web shop: friendly, exact, at most 120 words.",
        "A customer writes about {subject}. They ordered nine days ago and have had no answer since. Write the reply.",
    ),
    "ticket-triage": (
        "support",
        "Answer with one JSON object and nothing else.",
        "Sort this ticket by urgency (1 to 4), team and mood: 'Since this morning {subject} does not work for us.'",
    ),
    "release-notes": (
        "engineering",
        None,
        "Write three sentences of release notes for a change to {subject}. Say what users notice, not how it was done.",
    ),
    "code-review": (
        "engineering",
        "You review code. Point out at most three problems, the worst first.",
        "Review this plan: we cache {subject} in memory for an hour and drop the cache whenever a write fails.",
    ),
    "sql-from-words": (
        "data",
        "Answer with one PostgreSQL query and nothing else.",
        "How many events concerned {subject} in each week of this year, and how does that compare with last year?",
    ),
    "meeting-summary": (
        "office",
        None,
        "Summarise in three points: we met about {subject}. Two want to decide now, one wants figures first.",
    ),
    "translate-help": (
        "docs",
        "Translate into German. Keep product names and placeholders as they are.",
        "To change {subject}, open Settings, choose your workspace, and confirm with the code we send to your phone.",
    ),
    "test-ideas": (
        "engineering",
        None,
        "List the edge cases that tests of {subject} most often miss, with one line of reason for each.",
    ),
}
"""Prompt id → the team that asks, the system prompt if any, the prompt itself."""

SUBJECTS = (
    "a parcel that was sent to the old address",
    "the invoice for March",
    "two-factor sign-in",
    "the export of monthly reports",
    "time zones in the calendar",
    "a refund to an expired card",
    "search results in the wrong language",
    "rounding of prices with three decimals",
    "the mobile app on slow networks",
    "the import of contacts with accents in their names",
    "notifications that arrive twice",
    "a webhook that is retried for ever",
    "access rights of people who left",
    "the nightly backup",
    "stock levels across two warehouses",
    "the order of pages in a shared document",
    "a discount code used by two people at once",
    "daylight saving time in billing periods",
    "uploads larger than a gigabyte",
    "the rate limit for partners",
    "read-only mode during maintenance",
    "the printed delivery note",
    "passwords that contain emoji",
    "a map that shows the wrong branch",
    "the trial that ends on 29 February",
    "deleted accounts in old statistics",
    "the dark theme in printed pages",
)


@dataclass(frozen=True)
class Prompt:
    """One run to ask for."""

    provider: str
    model: str
    prompt_id: str
    team: str
    system: str | None
    text: str

    def body(self) -> dict[str, object]:
        """Return the body of `POST /api/integrations/run`."""
        body = {
            "provider": self.provider,
            "model": self.model,
            "input": self.text,
            "promptId": self.prompt_id,
            "labels": {"team": self.team, "source": "demo"},
            "maxTokens": 400,
        }
        return body if self.system is None else {**body, "system": self.system}


def prompts() -> Iterator[Prompt]:
    """Yield every job on every subject, the models by turns."""
    models = cycle(MODELS)
    for subject in SUBJECTS:
        for prompt_id, (team, system, template) in JOBS.items():
            provider, model = next(models)
            yield Prompt(provider, model, prompt_id, team, system, template.format(subject=subject))
