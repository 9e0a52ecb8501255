{{/*
What would take nodes away that may still serve: fails unless engines.removed says that they do not. helm asks the API server
for what is there when it installs and upgrades; `helm template` does not, and finds nothing.
*/}}
{{- define "shardproxy.engines.removed" -}}
{{- $own := include "shardproxy.engines.selector" . | fromYaml -}}
{{- $engines := .Values.engines -}}
{{- $wanted := ternary (int $engines.shards) 0 $engines.enabled -}}
{{- range (lookup "apps/v1" "StatefulSet" .Release.Namespace "").items -}}
{{- $labels := default dict .spec.selector.matchLabels -}}
{{- if eq (omit $labels "shardproxy/shard" | toJson) (toJson $own) -}}
{{- $shard := int (get $labels "shardproxy/shard") -}}
{{- if ge $shard $wanted -}}
{{- if not (has (toString $shard) (include "shardproxy.ordinals" $engines.removed.shards | splitList " ")) -}}
{{- fail (printf "shard-%d (StatefulSet %s) would be served no more: drain it first (shardproxy drain), and then say so by engines.removed.shards: [%d]" $shard .metadata.name $shard) -}}
{{- end -}}
{{- else -}}
{{- range $node := until (int .spec.replicas) -}}
{{- if and (ge $node (int $engines.nodes)) (not (has (toString $node) (include "shardproxy.ordinals" $engines.removed.nodes | splitList " "))) -}}
{{- fail (printf "node %d of shard-%d would end: see that it is no primary (shardproxy switchover), and then say so by engines.removed.nodes: [%d]" $node $shard $node) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Numbers as words: helm has those of files as floats, and those of --set as integers. */}}
{{- define "shardproxy.ordinals" -}}
{{- range $index, $one := . }}{{ if $index }} {{ end }}{{ int $one }}{{ end -}}
{{- end -}}
