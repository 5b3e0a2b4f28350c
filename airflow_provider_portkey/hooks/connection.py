"""Settings from an Airflow connection, with masking, and the connection form of Airflow before 3.2."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.client.redaction import spellings
from airflow_provider_portkey.client.settings import ConnectionSettings, read_settings
from airflow_provider_portkey.client.task_metadata import task_metadata_of
from airflow_provider_portkey.exceptions import PortkeyConnectionInvalidError
from airflow_provider_portkey.get_provider_info import get_provider_info

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

_CONNECTION_TYPE = "portkey"
#: Tasks of this process, with the connections that they were warned about.
_warned: set[tuple[str | None, str, str]] = set()
#: Process ids with what they have masked. On Airflow 3 masking waits for the parent process, in a busy triggerer for
#: tenths of a second.
_masked: set[tuple[int, str]] = set()


def to_settings(connection: Connection) -> ConnectionSettings:
    """
    Return the settings of a connection, with every spelling of every credential masked in Airflow's logs.

    :raises PortkeyConnectionInvalidError: naming every field that is wrong, or the type that is not ``portkey``.
    """
    from airflow.providers.common.compat.sdk import mask_secret

    if connection.conn_type and connection.conn_type != _CONNECTION_TYPE:
        raise PortkeyConnectionInvalidError(
            f"The connection {connection.conn_id!r} is of type {connection.conn_type!r}, expected {_CONNECTION_TYPE!r}."
        )

    settings = read_settings(
        host=connection.host,
        port=connection.port,
        path=connection.schema,
        api_key=connection.password,
        extra=_extra(connection),
    )
    wanted = {(os.getpid(), spelling) for secret in settings.secrets for spelling in spellings(secret)}
    if new := wanted - _masked:
        values: list[Any] = sorted(spelling for _, spelling in new)
        mask_secret(values)
        _masked.update(new)
    return settings


def warn_once(settings: ConnectionSettings, conn_id: str, task: str | None, log: Any) -> None:
    """
    Log the warnings of a connection, once for each task.

    :param conn_id: The connection.
    :param task: What identifies the try of the task, such as its trace id.
    """
    for warning in settings.warnings:
        if (key := (task, conn_id, warning)) not in _warned:
            _warned.add(key)
            log.warning("Connection %r: %s", conn_id, warning)


def current_task_metadata() -> dict[str, str]:
    """Return the metadata of the task that runs in this process, empty outside of a task."""
    from airflow.providers.common.compat.sdk import AirflowException, get_current_context

    try:
        context = get_current_context()
    except (AirflowException, RuntimeError):  # Airflow 2, Airflow 3
        return {}
    return task_metadata_of(context.get("ti"))


def _extra(connection: Connection) -> dict[str, Any]:
    # Not extra_dejson, which reads a string that is no JSON as an empty form.
    extra: Any = connection.extra
    try:
        if not isinstance(extra, dict):  # some secrets backends give the object itself
            extra = json.loads(extra) if extra else {}
    except ValueError as error:
        extra, problem = None, f"The Portkey connection's field 'extra' is no JSON: {error}."
    else:
        problem = "The Portkey connection's field 'extra' is no JSON object."
    if not isinstance(extra, dict):
        # Outside of the block: the parser's exception would be the context, and has the whole of extra.
        raise PortkeyConnectionInvalidError(problem)
    return extra


def form_behaviour() -> dict[str, Any]:
    """Return the behaviour of the standard fields, with the keys of Airflow before 3.2."""
    behaviour = _form()["ui-field-behaviour"]
    return {
        "hidden_fields": behaviour["hidden-fields"],
        "relabeling": behaviour["relabeling"],
        "placeholders": behaviour["placeholders"],
    }


def form_widgets() -> dict[str, Any]:
    """Return the form's own fields as the widgets of Airflow before 3.2."""
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextAreaFieldWidget, BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import PasswordField, StringField
    from wtforms.validators import Optional

    # Airflow shows nothing of a hook with a field of another class, such as TextAreaField.
    classes = {
        "password": (PasswordField, BS3PasswordFieldWidget),
        "multiline": (StringField, BS3TextAreaFieldWidget),
    }

    def widget(field: dict[str, Any]) -> Any:
        field_class, widget_class = classes.get(field["schema"].get("format"), (StringField, BS3TextFieldWidget))
        label, hint = lazy_gettext(field["label"]), field["description"]
        return field_class(label, widget=widget_class(), description=hint, validators=[Optional()])

    return {name: widget(field) for name, field in _form()["conn-fields"].items()}


def _form() -> dict[str, Any]:
    form: dict[str, Any] = get_provider_info()["connection-types"][0]
    return form
