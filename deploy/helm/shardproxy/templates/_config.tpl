{{/* Config files. Each is what the chart knows, under what the values say. */}}

{{/* The shards of `engines`, as a config lists them: pods by names that outlive their addresses. */}}
{{- define "shardproxy.shards" -}}
{{- $name := include "shardproxy.fullname" . -}}
{{- range $shard := until (int .Values.engines.shards) }}
- name: shard-{{ $shard }}
  nodes:
    {{- range $node := until (int $.Values.engines.nodes) }}
    - {{ printf "%s-engine-%d-%d.%s-engine-%d.%s.svc:6379" $name $shard $node $name $shard $.Release.Namespace }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* The cluster of `engines` where somebody listens on an address. Of: root, address, more of the cluster. */}}
{{- define "shardproxy.cluster" -}}
{{ .root.Values.engines.cluster }}:
  engine: redis
  endpoints:
    configuration: {{ .address }}
  node_auth:
    password: {file: /run/secrets/passwords/{{ .root.Values.passwords.enginesKey }}}
  shards: {{- include "shardproxy.shards" .root | nindent 4 }}
  {{- with .more }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "shardproxy.access" -}}
access:
  users:
    - name: {{ .Values.passwords.appUser }}
      passwords: [{file: /run/secrets/passwords/{{ .Values.passwords.appKey }}}]
{{- end -}}

{{/* The one file. Of: root, port, drain, own (YAML of the kind of proxy), membership, given (values), cluster (YAML), admin (YAML). */}}
{{- define "shardproxy.file" -}}
{{- $file := fromYaml .own -}}
{{- $_ := set $file "admin" (printf "0.0.0.0:%d" (int .port)) -}}
{{- with fromYaml .admin -}}
{{- $_ := set $file "admin_access" . -}}
{{- end -}}
{{- $_ := set $file "state" "/var/lib/shardproxy/state.json" -}}
{{- $_ := set $file "log" (dict "format" "json") -}}
{{- $_ := set $file "timeouts" (dict "drain" (printf "%ds" (int .drain))) -}}
{{- if not (hasKey .given "store") -}}
{{- $kubernetes := dict "name" (include "shardproxy.fullname" .root) "namespace" .root.Release.Namespace -}}
{{- $_ := set $file "store" (dict "kubernetes" $kubernetes "membership" .membership) -}}
{{- end -}}
{{- if .root.Values.engines.enabled -}}
{{- $_ := set $file "clusters" (fromYaml .cluster) -}}
{{- end -}}
{{- $file = mergeOverwrite $file (deepCopy .given) -}}
{{- if not $file.clusters -}}
{{- fail (printf "no cluster is served: list one under %s.clusters, or leave engines.enabled true" .where) -}}
{{- end -}}
{{- toYaml $file -}}
{{- end -}}

{{/* Who may ask the admin API of a gateway; who reaches a container may act there. Without tokens it is for the proxy to say. */}}
{{- define "shardproxy.gateway.admin" -}}
{{- with include "shardproxy.tokens" (dict "root" . "rights" (list "read" "act")) | fromYamlArray -}}
loopback: act
tokens: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* And of a sidecar, whose loopback the application shares. */}}
{{- define "shardproxy.sidecar.admin" -}}
loopback: read
{{- with include "shardproxy.tokens" (dict "root" . "rights" (list "read")) | fromYamlArray }}
tokens: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* The tokens that are mounted, as a config lists them. Of: root, and rights that are known. */}}
{{- define "shardproxy.tokens" -}}
{{- $tokens := list -}}
{{- range .root.Values.adminAccess.tokens -}}
{{- if has .rights $.rights -}}
{{- $tokens = append $tokens (dict "name" .name "rights" .rights "file" (printf "/run/secrets/admin/%s" .key)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $tokens -}}
{{- end -}}

{{- define "shardproxy.gateway.config" -}}
{{- $cluster := include "shardproxy.cluster" (dict "root" . "address" "0.0.0.0:6379" "more" (include "shardproxy.access" .)) -}}
{{- include "shardproxy.file" (dict "root" . "port" .Values.gateway.adminPort "drain" .Values.gateway.drain
  "own" (printf "workers: %v\nlimits: {buffers: %s}" .Values.gateway.workers .Values.gateway.buffers) "membership" "member" "given" .Values.config
  "cluster" $cluster "where" "config" "admin" (include "shardproxy.gateway.admin" .)) -}}
{{- end -}}

{{- define "shardproxy.sidecar.config" -}}
{{- $limits := printf "limits: {clients: %d}" (int .Values.sidecar.clients) -}}
{{- $address := printf "127.0.0.1:%d" (int .Values.sidecar.port) -}}
{{- $cluster := include "shardproxy.cluster" (dict "root" . "address" $address "more" $limits) -}}
{{- include "shardproxy.file" (dict "root" . "port" .Values.sidecar.adminPort "drain" .Values.sidecar.drain
  "own" (printf "workers: %v\nlimits: {buffers: %s}" .Values.sidecar.workers .Values.sidecar.buffers)
  "membership" "follower" "given" .Values.sidecar.config "cluster" $cluster "where" "sidecar.config"
  "admin" (include "shardproxy.sidecar.admin" .)) -}}
{{- end -}}

{{/* What Prometheus comes with, in a monitor of its operator. */}}
{{- define "shardproxy.monitoring.token" -}}
{{- $keys := list -}}
{{- range .Values.adminAccess.tokens }}{{ $keys = append $keys .key }}{{ end -}}
{{- with .Values.monitoring -}}
{{- if .tokenKey -}}
{{- if not (has .tokenKey $keys) -}}
{{- fail (printf "monitoring.tokenKey: no token of adminAccess.tokens has the key %s" .tokenKey) -}}
{{- end -}}
authorization: {credentials: {name: {{ $.Values.adminAccess.existingSecret }}, key: {{ .tokenKey }}}}
{{- else if and $keys (or .serviceMonitor.enabled .podMonitor.enabled) -}}
{{- fail "with adminAccess.tokens Prometheus needs one of them: name its key as monitoring.tokenKey" -}}
{{- end -}}
{{- end -}}
{{- end -}}
