{{- /*
What the operator would refuse at its start and values.schema.json cannot say with the way out:
the rules of the models in configuration.py that look at several fields.
*/}}
{{- define "argus.check-values" -}}
{{- with .Values.defaults.queue }}
  {{- if not $.Values.kueue.enabled }}
    {{- fail (printf "defaults.queue %s needs Kueue: set kueue.enabled=true, or remove defaults.queue" .) }}
  {{- end }}
{{- end }}
{{- with .Values.defaults.storage }}
  {{- if and .secretRef .serviceAccountName }}
    {{- fail "defaults.storage: secretRef and serviceAccountName exclude each other: keep one" }}
  {{- end }}
{{- end }}
{{- $gpus := dict }}
{{- range $part := list "requests" "limits" }}
  {{- range $name, $amount := index $.Values.defaults.resourcesPerNode $part }}
    {{- if or (hasSuffix "/gpu" $name) (hasSuffix "/gpu.shared" $name) (contains "/mig-" $name) }}
      {{- $_ := set $gpus $name (int $amount) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- $asked := 0 }}
{{- range values $gpus }}
  {{- $asked = add $asked . }}
{{- end }}
{{- if gt (int $asked) 1 }}
  {{- fail (printf "defaults.resourcesPerNode asks for %d GPUs: a run trains on one, ask for 1" $asked) }}
{{- end }}
{{- range $index, $toleration := .Values.defaults.tolerations }}
  {{- $field := printf "defaults.tolerations[%d]" $index }}
  {{- $exists := eq (.operator | default "Equal") "Exists" }}
  {{- if and $exists .value }}
    {{- fail (printf "%s.value: operator Exists takes no value, not %q: remove it, or use Equal" $field .value) }}
  {{- end }}
  {{- if not (or $exists .key) }}
    {{- fail (printf "%s has no key, which needs operator Exists: set one of them" $field) }}
  {{- end }}
  {{- if and (hasKey . "tolerationSeconds") (ne (.effect | default "") "NoExecute") }}
    {{- fail (printf "%s.tolerationSeconds %v needs effect NoExecute: set it" $field .tolerationSeconds) }}
  {{- end }}
{{- end }}
{{- end }}
