"""What the place of the models knows of runs: which are published, and whether their bundles are
still what was published."""

from argus_contract.ledger import PublishedRecord
from argus_trainer.bundle.records import Records
from argus_trainer.bundle.whole import damage_of
from argus_trainer.storage.store import Store
from argus_trainer.upkeep.reports import Publication


class Models:
    """The records of `published/` at one look. Price: all of them are read."""

    def __init__(self, output: Store) -> None:
        self._output = output
        records = Records(output)
        self._of_run: dict[str, PublishedRecord] = {}
        for record in records.newest_first():
            self._of_run.setdefault(record.run_key, record)
        self.faults = records.faults
        """Why each record that cannot be read cannot: any run may be the one that it names."""

    def publication_of(self, run_key: str, *, verify: bool) -> Publication | None:
        """Returns a run's newest record; `verify` reads every file of its bundle."""
        record = self._of_run.get(run_key)
        if record is None:
            return None
        damage = damage_of(self._output, record) if verify else None
        return Publication(record=record, damage=damage)
