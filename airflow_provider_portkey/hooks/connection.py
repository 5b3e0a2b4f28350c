"""Settings from an Airflow connection, with masking, and the connection form of Airflow before 3.2."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.client.settings import ConnectionSettings, read_settings
from airflow_provider_portkey.exceptions import PortkeyConnectionInvalidError
from airflow_provider_portkey.get_provider_info import get_provider_info

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection


def to_settings(connection: Connection) -> ConnectionSettings:
    """
    Return the settings of a connection, with every credential masked in Airflow's logs.

    :raises PortkeyConnectionInvalidError: naming every field that is wrong.
    """
    from airflow.providers.common.compat.sdk import mask_secret

    settings = read_settings(
        host=connection.host,
        port=connection.port,
        path=connection.schema,
        api_key=connection.password,
        extra=_extra(connection),
    )
    for secret in settings.secrets:
        mask_secret(secret)
    return settings


def _extra(connection: Connection) -> dict[str, Any]:
    # Not extra_dejson, which reads a string that is no JSON as an empty form.
    extra: Any = connection.extra
    try:
        if not isinstance(extra, dict):  # some secrets backends give the object itself
            extra = json.loads(extra) if extra else {}
    except ValueError as error:
        raise PortkeyConnectionInvalidError(f"The Portkey connection's field 'extra' is no JSON: {error}.") from None
    if not isinstance(extra, dict):
        raise PortkeyConnectionInvalidError("The Portkey connection's field 'extra' is no JSON object.")
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
    from wtforms import PasswordField, StringField, TextAreaField
    from wtforms.validators import Optional

    classes = {
        "password": (PasswordField, BS3PasswordFieldWidget),
        "multiline": (TextAreaField, BS3TextAreaFieldWidget),
    }

    def widget(field: dict[str, Any]) -> Any:
        field_class, widget_class = classes.get(field["schema"].get("format"), (StringField, BS3TextFieldWidget))
        label, hint = lazy_gettext(field["label"]), field["description"]
        return field_class(label, widget=widget_class(), description=hint, validators=[Optional()])

    return {name: widget(field) for name, field in _form()["conn-fields"].items()}


def _form() -> dict[str, Any]:
    form: dict[str, Any] = get_provider_info()["connection-types"][0]
    return form
