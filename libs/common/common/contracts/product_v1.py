"""How much of the product is used: `GET /api/analytics/product`."""

from common.contracts.answers_v1 import Answer, Money, Source
from common.contracts.completeness_v1 import Completeness


class ProductDay(Answer):
    """One UTC day; days without runs are zeros. `date` is YYYY-MM-DD."""

    date: str
    runs: int
    users: int
    cost: Money


class ModelUsed(Answer):
    """One requested model of one provider. `first_day` and `last_day` of the period with a run are YYYY-MM-DD."""

    provider: str
    model: str
    runs: int
    cost: Money
    first_day: str
    last_day: str


class ProductUse(Answer):
    """What analytics knows of it. `start` and `end` are UTC days, both included; the last one is not over.

    `runs_a_day` is a mean over all days of the period. `users` are the different ones that runs name. What runs that
    name none cost, `cost_without_user`, is in no user's: `cost_per_user` is the rest for each user, None without users.
    These are from the runs themselves, everything else is from `source`.
    """

    start: str
    end: str
    runs: int
    runs_a_day: float
    days: list[ProductDay]
    users: int
    cost: Money
    cost_without_user: Money
    cost_per_user: Money | None
    models: list[ModelUsed]
    source: Source
    read_up_to: str | None
    completeness: Completeness


class KeysConnected(Answer):
    """Provider keys that runs may use now, and those of each provider."""

    total: int
    by_provider: dict[str, int]


class Product(ProductUse):
    """The same with the keys that are connected; None while the vault cannot be asked."""

    keys_connected: KeysConnected | None
