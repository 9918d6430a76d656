{{- define "argus.name" -}}
{{ printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* For objects outside of all namespaces: releases of one name may stand in several. */}}
{{- define "argus.cluster-name" -}}
{{ printf "%s:%s" .Release.Namespace (include "argus.name" .) }}
{{- end }}

{{- define "argus.labels" -}}
app.kubernetes.io/name: argus
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "argus.selector" -}}
app.kubernetes.io/name: argus
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "argus.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- /* What the operator does in the namespaces that it serves; nothing here reads a Secret. */}}
{{- define "argus.rules" -}}
- apiGroups: [argus.tachyon.dev]
  resources: [argustrainingjobs]
  verbs: [get, list, watch]
- apiGroups: [argus.tachyon.dev]
  resources: [argustrainingjobs/status]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create, patch]
{{- if .Values.kueue.enabled }}
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
{{- end }}
{{- end }}

{{- /* The Lease that says which replica acts, and the one that says which installation serves. */}}
{{- define "argus.rules-for-leases" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: {{ . | toJson }}
  verbs: [get, update]
{{- end }}

{{- /* The operator's configuration file: the model Configuration in configuration.py. */}}
{{- define "argus.configuration" -}}
{{- include "argus.check-values" . -}}
installation:
  namespace: {{ .Release.Namespace | quote }}
  name: {{ include "argus.name" . }}
clusterName: {{ .Values.clusterName | quote }}
watchNamespaces: {{ .Values.watchNamespaces | toJson }}
kueueEnabled: {{ .Values.kueue.enabled }}
progressIntervalSeconds: {{ .Values.progress.intervalSeconds }}
defaults:
  {{- with .Values.defaults.image }}
  image: {{ . | quote }}
  {{- end }}
  {{- with .Values.defaults.imagePullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  imagePullSecrets: {{ .Values.defaults.imagePullSecrets | toJson }}
  {{- with .Values.defaults.checkpoint.uri }}
  checkpointUri: {{ . | quote }}
  {{- end }}
  {{- with .Values.defaults.output.uri }}
  outputUri: {{ . | quote }}
  {{- end }}
  storage: {{ .Values.defaults.storage | toJson }}
  resourcesPerNode: {{ .Values.defaults.resourcesPerNode | toJson }}
  nodeSelector: {{ .Values.defaults.nodeSelector | toJson }}
  tolerations: {{ .Values.defaults.tolerations | toJson }}
  {{- with .Values.defaults.queue }}
  queue: {{ . | quote }}
  {{- end }}
trainer: {{ .Values.trainer | toJson }}
planning: {{ .Values.planning | toJson }}
{{- end }}
