"""Validates rendered Kubernetes objects strictly: a field that the schema does not know is an error.

validate_manifests.py FILE VERSION...: the objects of Kubernetes itself against the schemas of each
version; those of the Prometheus operator and of cert-manager against the models of one version of
theirs. Prints a line for every mistake; the exit code is 0 when there is none.
"""

import functools
import sys

import jsonschema
import kubernetes_validate
import kubernetes_validate.utils
import yaml
from cloudcoil.models.cert_manager import v1 as cert_manager
from cloudcoil.models.prometheus_operator import v1 as prometheus_operator

# Read once, not for every object.
kubernetes_validate.utils.schema_contents = functools.cache(
    kubernetes_validate.utils.schema_contents
)

MODELS = {
    "monitoring.coreos.com/v1": prometheus_operator,
    "cert-manager.io/v1": cert_manager,
}


def strict(schema):
    """The schema without room for unknown fields."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            strict(part)
    elif isinstance(schema, list):
        for part in schema:
            strict(part)
    return schema


@functools.cache
def schema_of(version, kind):
    return strict(getattr(MODELS[version], kind).model_json_schema(by_alias=True))


def mistakes(item, versions):
    if item["apiVersion"] in MODELS:
        schema = schema_of(item["apiVersion"], item["kind"])
        for error in jsonschema.Draft202012Validator(schema).iter_errors(item):
            yield f"{error.json_path}: {error.message}"
        return
    for version in versions:
        try:
            used = kubernetes_validate.validate(item, version, strict=True)
            if used != version:
                yield f"there is no schema of Kubernetes {version}"
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {error.json_path}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield error.message


def main():
    path, *versions = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        items = [item for item in yaml.load_all(file, yaml.CSafeLoader) if item]
    found = 0
    for item in items:
        for mistake in mistakes(item, versions):
            found += 1
            print(f"{item['kind']} {item['metadata']['name']}: {mistake}")
    print(f"{len(items)} objects, {len(versions)} versions, {found} mistakes")
    return 1 if found or not items else 0


sys.exit(main())
