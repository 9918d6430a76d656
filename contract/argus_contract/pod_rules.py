"""CEL rules of `pod_spec.py`: the same that its validators say, for the API server."""

from argus_contract.names import OWN_DOMAINS, OWN_ENV_PREFIX, OWN_VOLUME_PREFIX
from argus_contract.pod_spec import ENV_SOURCES, VOLUME_SOURCES


def _one_of(item: str, fields: tuple[str, ...]) -> str:
    """Returns the rule that exactly one of these fields is there."""
    return " + ".join(f"(has({item}.{field}) ? 1 : 0)" for field in fields) + " == 1"


def _free_of_own_keys(field: str) -> tuple[str, str]:
    free = " && ".join(f"!k.startsWith('{domain}')" for domain in OWN_DOMAINS)
    return (
        f"!has(self.{field}) || self.{field}.all(k, {free})",
        f"podOverrides.{field}: keys of {' and '.join(OWN_DOMAINS)} belong to Argus and Kueue: "
        "remove them (the queue is a label of the ArgusTrainingJob itself)",
    )


POD_RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "scheduling": (
        (
            "!has(self.tolerations) || self.tolerations.all(t, !(has(t.operator) && "
            "t.operator == 'Exists' && has(t.value) && t.value != ''))",
            "tolerations: operator Exists takes no value: remove it, or use Equal",
        ),
        (
            "!has(self.tolerations) || self.tolerations.all(t, (has(t.key) && t.key != '') || "
            "(has(t.operator) && t.operator == 'Exists'))",
            "tolerations: one without key needs operator Exists: set one of them",
        ),
        (
            "!has(self.tolerations) || self.tolerations.all(t, !has(t.tolerationSeconds) || "
            "(has(t.effect) && t.effect == 'NoExecute'))",
            "tolerations: tolerationSeconds needs effect NoExecute: set it",
        ),
    ),
    "podOverrides": (
        _free_of_own_keys("labels"),
        _free_of_own_keys("annotations"),
        (
            f"self.env.all(e, !e.name.startsWith('{OWN_ENV_PREFIX}')) && "
            f"self.envFrom.all(e, !e.prefix.startsWith('{OWN_ENV_PREFIX}'))",
            f"podOverrides: environment variables that begin with {OWN_ENV_PREFIX} belong to "
            "Argus: use another name",
        ),
        (
            "self.env.all(e, !(has(e.value) && has(e.valueFrom)))",
            "podOverrides.env: value and valueFrom exclude each other: keep one",
        ),
        (
            f"self.env.all(e, !has(e.valueFrom) || {_one_of('e.valueFrom', ENV_SOURCES)})",
            f"podOverrides.env: valueFrom takes exactly one of {', '.join(ENV_SOURCES)}: keep one",
        ),
        (
            f"self.envFrom.all(e, {_one_of('e', ('configMapRef', 'secretRef'))})",
            "podOverrides.envFrom takes exactly one of configMapRef and secretRef: keep one",
        ),
        (
            f"self.volumes.all(v, {_one_of('v', VOLUME_SOURCES)})",
            f"podOverrides.volumes: each takes exactly one of {', '.join(VOLUME_SOURCES)}, and no "
            "other kind is allowed: keep one",
        ),
        (
            f"self.volumes.all(v, !v.name.startsWith('{OWN_VOLUME_PREFIX}'))",
            f"podOverrides.volumes: names that begin with {OWN_VOLUME_PREFIX} belong to Argus: use "
            "another name",
        ),
        (
            "self.volumeMounts.all(m, self.volumes.exists(v, v.name == m.name))",
            "podOverrides.volumeMounts names a volume that is not in podOverrides.volumes: add it "
            "there",
        ),
    ),
    "podOverrides.securityContext": (
        (
            "!has(self.seccompProfile) || (self.seccompProfile.type == 'Localhost') == "
            "has(self.seccompProfile.localhostProfile)",
            "seccompProfile: localhostProfile goes with type Localhost: set both, or neither",
        ),
    ),
}
"""By field of the spec: (rule, message). `spec_schema` puts them into the CRD."""
