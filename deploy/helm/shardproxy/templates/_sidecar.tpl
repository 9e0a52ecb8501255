{{/*
A proxy in a pod, as an init container that keeps running: ready before the application starts, ended after it. In a chart
that depends on this one:

      initContainers:
        {{- include "shardproxy.sidecar.container" .Subcharts.shardproxy | nindent 8 }}
      volumes:
        {{- include "shardproxy.sidecar.volumes" .Subcharts.shardproxy | nindent 8 }}
*/}}
{{- define "shardproxy.sidecar.container" -}}
- name: shardproxy
  image: {{ include "shardproxy.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  ports:
    - {name: proxy-admin, containerPort: {{ .Values.sidecar.adminPort }}}
  env: {{- include "shardproxy.env" . | nindent 4 }}
  {{- include "shardproxy.probes" (dict "port" "proxy-admin" "failures" 3) | nindent 2 }}
  resources: {{- toYaml .Values.sidecar.resources | nindent 4 }}
  securityContext: {{- include "shardproxy.securityContext" . | nindent 4 }}
  volumeMounts: {{- include "shardproxy.mounts" (merge (dict "root" .) (include "shardproxy.sidecar.needs" . | fromYaml)) | nindent 4 }}
{{- end -}}

{{- define "shardproxy.sidecar.volumes" -}}
{{- $needs := include "shardproxy.sidecar.needs" . | fromYaml -}}
{{- include "shardproxy.volumes" (merge (dict "root" . "configMap" (printf "%s-sidecar" (include "shardproxy.fullname" .))) $needs) -}}
{{- end -}}

{{/* The namespaces whose pods may have one, as a selector. */}}
{{- define "shardproxy.sidecar.namespaces" -}}
{{- with .Values.sidecar.inject.namespaceSelector -}}
{{ toYaml . }}
{{- else -}}
matchLabels: {kubernetes.io/metadata.name: {{ .Release.Namespace }}}
{{- end -}}
{{- end -}}

{{/* A value as CEL takes it: its maps and lists are of one type each, so everything in them is made any. */}}
{{- define "shardproxy.cel" -}}
{{- if kindIs "map" . -}}
{ {{- $first := true }}{{ range $key, $value := . }}{{ if not $first }}, {{ end }}{{ $key | toJson }}: dyn({{ include "shardproxy.cel" $value }}){{ $first = false }}{{ end -}} }
{{- else if kindIs "slice" . -}}
[ {{- $first := true }}{{ range . }}{{ if not $first }}, {{ end }}dyn({{ include "shardproxy.cel" . }}){{ $first = false }}{{ end -}} ]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}
