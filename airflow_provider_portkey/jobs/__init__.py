"""Declarations of jobs; ``JobSpec`` declares one of your own."""

TYPE_CHECKING = False  # importing typing costs parse time
if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.spec import JobSpec as JobSpec


def __getattr__(name: str) -> object:
    """Import ``JobSpec`` at the first use, so that parsing a DAG file stays cheap."""
    if name == "JobSpec":
        from airflow_provider_portkey.jobs.spec import JobSpec

        return JobSpec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
