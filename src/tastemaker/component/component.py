"""The base class of components: the constructor stores settings, `fit` takes options."""

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
    """Options of `fit` that are the same for every component.

    Attributes:
        seed: the seed of all random numbers.
        threads: the number of threads to use.
        memory_budget: the most bytes that the process may hold; by default the budget of the
            project, or else three quarters of the memory of the machine or its container.
        progress: reports the progress of long operations.

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
        """Raises before work starts if its estimated memory exceeds the budget.

        Args:
            needed: the estimate, bytes.
            work: the work that needs it, such as `EASE on 200,000 items`.
            fix: what to do instead.

        Raises:
            MemoryBudgetError: the estimate and the memory in use exceed the budget.
        """
        require_memory(needed, self.memory_budget, work, fix)

    @property
    def memory_left(self) -> int:
        """The bytes of the budget that the process does not use yet."""
        return memory_left(self.memory_budget)


class Component:
    """A component with settings: the constructor only stores them, and `fit` does not change them.

    A subclass declares `config: ItsConfig`; the fields of that class are the constructor's
    arguments.

    Attributes:
        name: the registered name of the component, used in project files and artifacts.
        config: the settings.
    """

    name: ClassVar[str]
    config: Settings

    def __init__(self, **settings: Any) -> None:
        self.config = self.config_class().checked(settings, owner=type(self).__name__)

    @classmethod
    def config_class(cls) -> type[Settings]:
        """The class of `config`.

        Raises:
            TypeError: the class does not declare a `name` and a `config` that can be resolved.
        """
        try:
            declared: type[Settings] = get_type_hints(cls)["config"]
        except NameError as problem:
            raise TypeError(
                f"{cls.__name__}: {problem}; import the names in its annotations at run time"
            ) from None
        if not hasattr(cls, "name") or declared is Settings:
            raise TypeError(f"{cls.__name__} must declare 'name' and 'config: ItsSettings'")
        return declared

    def clone(self) -> Self:
        """An unfitted component with the same settings."""
        return type(self)(**self.config.model_dump())

    def __repr__(self) -> str:
        changed = self.config.model_dump(exclude_defaults=True)
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"

    def require(self, learned: str) -> None:
        """Raises NotFittedError if `fit` or `load` has not set the attribute `learned`."""
        if not hasattr(self, learned):
            raise NotFittedError(self)
