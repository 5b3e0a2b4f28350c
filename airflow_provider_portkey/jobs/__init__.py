"""Declarations of jobs and lists; ``JobSpec`` and ``ListSpec`` declare others."""

TYPE_CHECKING = False  # importing typing costs parse time
if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.list_spec import ListSpec as ListSpec
    from airflow_provider_portkey.jobs.lists import BATCHES as BATCHES
    from airflow_provider_portkey.jobs.lists import FILES as FILES
    from airflow_provider_portkey.jobs.lists import FINE_TUNING_CHECKPOINTS as FINE_TUNING_CHECKPOINTS
    from airflow_provider_portkey.jobs.lists import FINE_TUNING_EVENTS as FINE_TUNING_EVENTS
    from airflow_provider_portkey.jobs.lists import MESSAGES as MESSAGES
    from airflow_provider_portkey.jobs.lists import MODELS as MODELS
    from airflow_provider_portkey.jobs.lists import RESPONSE_INPUT_ITEMS as RESPONSE_INPUT_ITEMS
    from airflow_provider_portkey.jobs.lists import RESPONSE_OUTPUT_ITEMS as RESPONSE_OUTPUT_ITEMS
    from airflow_provider_portkey.jobs.lists import RUN_STEPS as RUN_STEPS
    from airflow_provider_portkey.jobs.lists import RUNS as RUNS
    from airflow_provider_portkey.jobs.lists import VECTOR_STORE_FILES as VECTOR_STORE_FILES
    from airflow_provider_portkey.jobs.spec import JobSpec as JobSpec

_CLASSES = {"JobSpec": "spec", "ListSpec": "list_spec"}


def __getattr__(name: str) -> object:
    """Import a class or a declared list at the first use, so that parsing a DAG file stays cheap."""
    from importlib import import_module

    # Names in capitals are lists. Submodules, which the import system looks up here, are not.
    if name in _CLASSES or (name.isupper() and not name.startswith("_")):
        module = import_module(f"{__name__}.{_CLASSES.get(name, 'lists')}")
        if name in vars(module):
            return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
