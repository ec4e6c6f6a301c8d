"""How long things are kept: texts by their days, runs by whole months, what they add up to for ever."""

from analytics.database import Database

OF_RUNS = ("runs", "accepted", "batch_runs", "repricings", "outcomes")

SHORTEST_DAYS = 31
"""Runs may be read from Kafka again for 14 days, and be accepted 8 days before they were appended: as long as that can
change an hour, all of the hour is there to count it from."""


async def retain(database: Database, text_days: int, run_days: int | None) -> None:
    """Let the engine drop what is older, from now on; where nothing changed, do nothing."""
    kept = {row["table"]: row["days"] for row in await database.rows("retained")}
    if kept.get("texts") != text_days:
        await database.execute("retain_texts", days=text_days)
    for table in OF_RUNS:
        if run_days is None and table in kept:
            await database.execute("retain_for_ever", table=table)
        elif run_days is not None and kept.get(table) != run_days:
            await database.execute("retain_runs", table=table, days=run_days)
