{{/* Name of the chart, as people override it. */}}
{{- define "core.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the release's objects. */}}
{{- define "core.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "core.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "core.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the hub's pod; it never changes. */}}
{{- define "core.selector" -}}
app.kubernetes.io/name: {{ include "core.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: hub
{{- end -}}

{{/* Labels of every object: the standard ones, and `app`, `component`, `tenant`. */}}
{{- define "core.labels" -}}
{{ include "core.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: sentinel
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app: sentinel
component: hub
tenant: {{ .Values.tenant | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The image: by digest if there is one, else by tag. */}}
{{- define "core.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* What selects PatchBot's pods, its labels, and its image. */}}
{{- define "core.patchbotSelector" -}}
app.kubernetes.io/name: {{ include "core.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: patchbot
{{- end -}}

{{- define "core.patchbotLabels" -}}
{{- merge (fromYaml (include "core.patchbotSelector" .)) (dict "component" "patchbot") (fromYaml (include "core.labels" .)) | toYaml -}}
{{- end -}}

{{- define "core.patchbotImage" -}}
{{- if .Values.patchbot.image.digest -}}
{{ .Values.patchbot.image.repository }}@{{ .Values.patchbot.image.digest }}
{{- else -}}
{{ .Values.patchbot.image.repository }}:{{ default .Chart.AppVersion .Values.patchbot.image.tag }}
{{- end -}}
{{- end -}}

{{- define "core.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "core.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "core.public" -}}
{{- default (printf "%s.%s.svc:%d" (include "core.fullname" .) .Release.Namespace (int .Values.hub.port)) .Values.hub.public -}}
{{- end -}}

{{/* The secret with the certificate for HTTPS; empty if the hub's own CA makes it. */}}
{{- define "core.httpsSecret" -}}
{{- if .Values.https.certManager.enabled -}}
{{- default (printf "%s-https" (include "core.fullname" .)) .Values.https.existingSecret -}}
{{- else -}}
{{- .Values.https.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "core.claim" -}}
{{- default (printf "state-%s-0" (include "core.fullname" .)) .Values.persistence.existingClaim -}}
{{- end -}}

{{/* What Pod Security "restricted" asks of a pod. */}}
{{- define "core.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* What it asks of a container. */}}
{{- define "core.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}
