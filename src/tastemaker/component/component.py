"""What every component shares: settings stored by the constructor, options given to `fit`."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, get_type_hints

from tastemaker.config import Settings
from tastemaker.data.arguments import whole_number
from tastemaker.errors import NotFittedError
from tastemaker.machine import memory_left, require_memory
from tastemaker.progress import Progress
from tastemaker.threads import available_threads


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to fit, as opposed to what: the same for every component.

    Attributes:
        seed: of everything random.
        threads: processors to use.
        memory_budget: bytes the process may hold; by default what the project says, or else three
            quarters of what the machine, or its container, has.
        progress: reports long work.

    Raises:
        SettingError: a number is not an integer, or too small.
    """

    seed: int = 0
    threads: int = field(default_factory=available_threads)
    memory_budget: int | None = None
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        whole_number(self.seed, "seed", 0)
        whole_number(self.threads, "threads", 1)
        if self.memory_budget is not None:
            whole_number(self.memory_budget, "memory_budget", 0)

    def require_memory(self, needed: int, work: str, fix: str) -> None:
        """Refuses work whose estimate does not fit into the budget, before it starts.

        Args:
            needed: the estimate, bytes.
            work: what would need it, such as `EASE on 200,000 items`.
            fix: what to do instead.

        Raises:
            MemoryBudgetError: the estimate and what is held already exceed the budget.
        """
        require_memory(needed, self.memory_budget, work, fix)

    @property
    def memory_left(self) -> int:
        """Bytes of the budget that the process does not hold yet."""
        return memory_left(self.memory_budget)


class Component:
    """A part with settings: constructors only store them, `fit` returns self and keeps them.

    A subclass declares `config: ItsConfig`; its settings are then the constructor's arguments.

    Attributes:
        name: what a project file and an artifact call the component; the name it is registered by.
        config: its settings.
    """

    name: ClassVar[str]
    config: Settings

    def __init__(self, **settings: Any) -> None:
        self.config = self.config_class().checked(settings, owner=type(self).__name__)

    @classmethod
    def config_class(cls) -> type[Settings]:
        """The settings class that `config` is declared with.

        Raises:
            TypeError: the class declares no `name` or no `config` that can be resolved.
        """
        try:
            declared: type[Settings] = get_type_hints(cls)["config"]
        except NameError as problem:
            raise TypeError(
                f"{cls.__name__}: {problem}; import what its annotations name at run time"
            ) from None
        if not hasattr(cls, "name") or declared is Settings:
            raise TypeError(f"{cls.__name__} must declare 'name' and 'config: ItsSettings'")
        return declared

    def clone(self) -> Self:
        """The same component, not fitted."""
        return type(self)(**self.config.model_dump())

    def __repr__(self) -> str:
        changed = self.config.model_dump(exclude_defaults=True)
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"

    def require(self, learned: str) -> None:
        """Raises NotFittedError unless `fit` or `load` has set the attribute `learned`."""
        if not hasattr(self, learned):
            raise NotFittedError(self)
