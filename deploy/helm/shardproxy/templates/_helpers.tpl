{{/* Names. */}}
{{- define "shardproxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "shardproxy.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "shardproxy.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "shardproxy.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "shardproxy.serviceAccount" -}}
{{- default (include "shardproxy.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "shardproxy.sidecar.serviceAccount" -}}
{{- default (printf "%s-follower" (include "shardproxy.fullname" .)) .Values.sidecar.serviceAccount.name -}}
{{- end -}}

{{- define "shardproxy.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels. */}}
{{- define "shardproxy.selector" -}}
app.kubernetes.io/name: {{ include "shardproxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "shardproxy.labels" -}}
{{ include "shardproxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "shardproxy.gateway.selector" -}}
{{ include "shardproxy.selector" . }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "shardproxy.engines.selector" -}}
{{ include "shardproxy.selector" . }}
app.kubernetes.io/component: engine
{{- end -}}

{{/* What every proxy's container may do: next to nothing. The user is that of deploy/docker/Dockerfile. */}}
{{- define "shardproxy.securityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/*
Where secrets are: a list of what is mounted as /run/secrets/NAME, and which of their keys (without: all). Of: root, keys of
the passwords that are needed, and rights of the tokens.
*/}}
{{- define "shardproxy.secrets" -}}
{{- $secrets := .root.Values.secrets -}}
{{- $keys := list -}}
{{- range include "shardproxy.tokens" . | fromYamlArray -}}
{{- $keys = append $keys (base .file) -}}
{{- end -}}
{{- if $keys -}}
{{- $name := required "adminAccess.tokens needs adminAccess.existingSecret, whose keys they name" .root.Values.adminAccess.existingSecret -}}
{{- $secrets = prepend $secrets (dict "name" "admin" "secretName" $name "keys" (uniq $keys)) -}}
{{- end -}}
{{- if .root.Values.engines.enabled -}}
{{- $secrets = prepend $secrets (dict "name" "passwords" "secretName" .root.Values.passwords.existingSecret "keys" .keys) -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end -}}

{{/* What of them a proxy needs. */}}
{{- define "shardproxy.gateway.needs" -}}
{{- dict "keys" (list .Values.passwords.appKey .Values.passwords.enginesKey) "rights" (list "read" "act") | toYaml -}}
{{- end -}}
{{- define "shardproxy.sidecar.needs" -}}
{{- dict "keys" (list .Values.passwords.enginesKey) "rights" (list "read") | toYaml -}}
{{- end -}}

{{/* Of: root, and its needs. */}}
{{- define "shardproxy.mounts" -}}
- {name: shardproxy-config, mountPath: /etc/shardproxy, readOnly: true}
- {name: shardproxy-state, mountPath: /var/lib/shardproxy}
- {name: shardproxy-tmp, mountPath: /tmp}
{{- range include "shardproxy.secrets" . | fromYamlArray }}
- {name: shardproxy-secret-{{ .name }}, mountPath: /run/secrets/{{ .name }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* The volumes of these mounts. Of: root, its needs, and the name of the ConfigMap. */}}
{{- define "shardproxy.volumes" -}}
- name: shardproxy-config
  configMap: {name: {{ .configMap }}}
- name: shardproxy-state # outlives the container, not the pod
  emptyDir: {sizeLimit: 16Mi}
- name: shardproxy-tmp
  emptyDir: {sizeLimit: 16Mi}
{{- range include "shardproxy.secrets" . | fromYamlArray }}
- name: shardproxy-secret-{{ .name }}
  secret:
    secretName: {{ .secretName }}
    {{- with .keys }}
    items:
      {{- range . }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* What the store calls a proxy goes with its pod. */}}
{{- define "shardproxy.env" -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
{{- end -}}

{{/* Probes. Engines that are down change neither page. Of: root, and how often readiness is asked. */}}
{{- define "shardproxy.probes" -}}
startupProbe:
  httpGet: {path: /readyz, port: {{ .port }}}
  periodSeconds: 1
  failureThreshold: 30
readinessProbe: # 503 while it drains
  httpGet: {path: /readyz, port: {{ .port }}}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: {{ .failures }}
livenessProbe:
  httpGet: {path: /livez, port: {{ .port }}}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
{{- end -}}
