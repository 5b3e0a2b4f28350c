"""Declarations of jobs; ``JobSpec`` declares one of your own."""

TYPE_CHECKING = False  # typing itself costs a DAG file time
if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.spec import JobSpec as JobSpec


def __getattr__(name: str) -> object:
    """Import ``JobSpec`` at its first use: a DAG file that declares no job does not pay for it."""
    if name == "JobSpec":
        from airflow_provider_portkey.jobs.spec import JobSpec

        return JobSpec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
