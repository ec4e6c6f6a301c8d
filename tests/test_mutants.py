"""`make mutants` is long, and run now and then: that its mutations still fit their files is seen every day."""

import pytest
from tests.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutation_fits_its_file_once_and_its_test_is_there(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    path, *names = mutant.test.split("::")
    assert all(name in (ROOT / path).read_text() for name in names[:1])
