"""The shipped ways out check whom they speak to, and roles for people add themselves to none that tenants have."""

from __future__ import annotations

from support.manifests import documents


def test_where_istio_begins_tls_to_a_provider_its_name_is_checked() -> None:
    """With `sni` set Istio does not set the name to check by itself (auto_san_validation)."""
    origins = [
        setting["tls"]
        for document in documents("overlays/istio")
        if document["kind"] == "DestinationRule"
        for setting in document["spec"].get("trafficPolicy", {}).get("portLevelSettings", ())
        if setting["tls"]["mode"] == "SIMPLE"
    ]
    assert len(origins) == 2
    for tls in origins:
        assert tls["subjectAltNames"] == [tls["sni"]]


def test_to_write_budgets_is_part_of_no_role_that_a_tenant_has() -> None:
    roles = {
        d["metadata"]["name"]: d
        for d in documents("base")
        if d["kind"] == "ClusterRole" and d["metadata"]["name"].startswith("llmbudget-")
    }
    assert "labels" not in roles["llmbudget-editor"]["metadata"]
    for name, role in roles.items():
        verbs = {v for rule in role["rules"] for v in rule["verbs"]}
        assert name == "llmbudget-editor" or verbs <= {"get", "list", "watch"}
