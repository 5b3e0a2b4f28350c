"""docs/deployment.md: a secrets backend as shown serves the connection, and the manifests are valid."""

from __future__ import annotations

import configparser
import json
import re
import subprocess

import boto3
import pytest
import yaml
from airflow.models import Connection
from airflow.providers.amazon.aws.secrets.secrets_manager import SecretsManagerBackend
from moto import mock_aws

from airflow_provider_portkey.hooks.connection import to_settings
from airflow_provider_portkey.testing import PortkeyMockServer
from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs" / "deployment.md"


@pytest.mark.slow
def test_the_file_backend_serves_the_connection(shell_environ, tmp_path):
    (ini,) = blocks("ini", PAGE)
    (shown,) = blocks("json", PAGE)
    parser = configparser.ConfigParser()
    parser.read_string(ini.code)
    file = tmp_path / "connections.json"
    path = json.loads(parser["secrets"]["backend_kwargs"])["connections_file_path"]
    with PortkeyMockServer() as server:
        connections = json.loads(shown.code)
        connections["portkey_default"] |= {"host": server.url}
        connections["portkey_default"]["extra"]["provider_api_key"] = "any"
        file.write_text(json.dumps(connections))
        env = shell_environ | {
            "AIRFLOW__SECRETS__BACKEND": parser["secrets"]["backend"],
            "AIRFLOW__SECRETS__BACKEND_KWARGS": parser["secrets"]["backend_kwargs"].replace(path, str(file)),
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        }
        command = "airflow db migrate && airflow connections test portkey_default"
        done = subprocess.run(["bash", "-ec", command], env=env, capture_output=True, text=True, check=False)
        assert "Connection success!" in done.stdout, done.stdout + done.stderr
        assert server.requests[-1].headers["x-portkey-provider"] == "@openai-prod"


def test_the_secret_of_the_page_is_a_connection_for_airflow_on_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = blocks("json", PAGE)
    name = re.search(r"\(`SecretsManagerBackend`\) \| the secret `([^`]+)`", PAGE.read_text())[1]
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "moto")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        secret = json.dumps(json.loads(shown.code)["portkey_default"])
        boto3.client("secretsmanager").create_secret(Name=name, SecretString=secret)
        connection = Connection.from_json(SecretsManagerBackend().get_conn_value("portkey_default"))
    assert dict(to_settings(connection).headers)["x-portkey-provider"] == "@openai-prod"


def test_the_manifests_for_kubernetes_name_the_same_secret():
    values, secret = (yaml.safe_load(block.code) for block in blocks("yaml", PAGE))
    (entry,) = values["secret"]
    assert entry["secretName"] == secret["metadata"]["name"]
    assert entry["envName"] == "AIRFLOW_CONN_PORTKEY_DEFAULT"
    connection = Connection.from_json(secret["stringData"][entry["secretKey"]])
    assert to_settings(connection).base_url == "https://api.portkey.ai/v1"
