"""How the files of a user become the columns of Argus: names, units, servers, steps, zone.

Made once from `data.*` of a launch. What cannot be meant is refused here, before a file is
opened, with exit 78.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from argus_contract.data_spec import NO_METRICS, Aggregate, DataRules, ServersSpec
from argus_contract.decimals import value_of
from argus_trainer.data.schema import CALENDAR, zone_of
from argus_trainer.errors import ConfigurationError, DataError

_TAKEN = (*CALENDAR, "time_idx", "relative_time_idx")
"""Names of columns that Argus makes itself."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How files are read."""

    own_names: Mapping[str, str]
    """Argus's name to the name in the files, for the columns that `data.columns` lists."""
    factors: Mapping[str, float]
    """Recorded value times this is Argus's; 1 for a metric that is not here."""
    aggregates: Mapping[str, Aggregate]
    cadence_seconds: int
    """Step onto which rows are gathered; 0 when they are taken as recorded."""
    chosen: ServersSpec

    @classmethod
    def of(cls, data: DataRules) -> "Rules":
        """Returns the rules of a launch. Raises ConfigurationError naming the field."""
        zone_of(data.time_zone)
        for column in data.columns:
            if column.name in _TAKEN:
                raise ConfigurationError(
                    f"data.columns: {column.name} is an input that Argus makes from the clock: "
                    "use another name"
                )
        return cls(
            own_names={column.name: column.source or column.name for column in data.columns},
            factors={
                column.name: float(column.factor)
                for column in data.columns
                if value_of(column.factor) != 1
            },
            aggregates={column.name: column.aggregate for column in data.columns},
            cadence_seconds=data.cadence_seconds,
            chosen=data.servers,
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that `data.columns` lists: inputs even when the guide does not know them."""
        return tuple(name for name in self.own_names if name not in NO_METRICS)

    def names_in(self, file: str, columns: Sequence[str]) -> dict[str, str]:
        """Returns Argus's name to the file's, for the file `file` with these columns.

        A column that feeds another name is no longer there under its own. Raises DataError for
        a source that is missing, and for a name that two columns would get.
        """
        sources = set(self.own_names.values())
        names = {name: name for name in columns if name not in sources}
        for name, source in self.own_names.items():
            if source not in columns:
                raise DataError(self._absent(file, name, source, columns))
            if name in names:
                raise DataError(
                    f"{file}: data.columns makes {source} {name}, and a column {name} is "
                    "there too: give that one another name, or remove the entry"
                )
            names[name] = source
        return names

    def takes_part(self, server: str) -> bool:
        """Returns whether `data.servers` lets this server take part."""
        include, exclude = self.chosen.include, self.chosen.exclude
        return (
            not include or any(fnmatchcase(server, pattern) for pattern in include)
        ) and not any(fnmatchcase(server, pattern) for pattern in exclude)

    def _absent(self, file: str, name: str, source: str, columns: Sequence[str]) -> str:
        """Returns what is wrong with an entry whose column the file does not have."""
        there = f"it has {', '.join(columns)}"
        if source != name:
            return (
                f"{file} has no column {source}, which data.columns makes {name}; {there}: correct "
                "from, or remove the entry"
            )
        entry = f"data.columns lists {name}"
        if name in self.factors:
            entry = f"data.columns.factor of {name} is {self.factors[name]:g}"
        elif self.aggregates[name] is not Aggregate.MEAN:
            entry = f"data.columns.aggregate of {name} is {self.aggregates[name]}"
        return (
            f"{entry}, and {file} has no column {name}; {there}: correct the name, or say with "
            "data.columns.from which column it is"
        )
