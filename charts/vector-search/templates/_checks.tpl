{{- /* What a schema cannot say: values that contradict each other. Every failure names the key. */ -}}
{{- define "vector-search.check" -}}
{{- $values := .Values -}}
{{- if not $values.store.existingSecret -}}
{{- fail "store.existingSecret: expected the name of a Secret with a file of AWS credentials" -}}
{{- end -}}
{{- if and (hasPrefix "http://" $values.store.endpoint) (hasSuffix ":443" $values.store.endpoint) -}}
{{- fail "store.endpoint: http on port 443: expected https" -}}
{{- end -}}
{{- if and $values.auth.withoutKeys (not $values.auth.iUnderstand) -}}
{{- fail "auth.withoutKeys lets everyone in who reaches the gateways: set auth.iUnderstand if that is meant" -}}
{{- end -}}
{{- if and (not $values.auth.withoutKeys) (not $values.auth.existingSecret) -}}
{{- fail "auth.existingSecret: expected the name of a Secret with a file of API keys (reelspace search key)" -}}
{{- end -}}
{{- if and $values.auth.withoutKeys $values.auth.existingSecret -}}
{{- fail "auth.existingSecret and auth.withoutKeys: expected one of them" -}}
{{- end -}}
{{- if $values.tls.enabled -}}
{{- if and $values.tls.certManager.enabled $values.tls.existingSecret -}}
{{- fail "tls.existingSecret and tls.certManager.enabled: expected one of them" -}}
{{- end -}}
{{- if not (or $values.tls.certManager.enabled $values.tls.existingSecret) -}}
{{- fail "tls.existingSecret: expected the name of a Secret with a certificate, or tls.certManager.enabled" -}}
{{- end -}}
{{- if and $values.tls.certManager.enabled (not $values.tls.certManager.issuer) -}}
{{- fail "tls.certManager.issuer: expected the name of an issuer" -}}
{{- end -}}
{{- else if or $values.tls.certManager.enabled $values.tls.existingSecret -}}
{{- fail "tls.enabled is false beside a certificate: set it, or leave the certificate out" -}}
{{- end -}}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) -}}
{{- fail "ingress.hosts: expected at least one name" -}}
{{- end -}}
{{- if and $values.ingress.enabled $values.tls.enabled -}}
{{- fail "ingress.enabled with tls.enabled: the Ingress speaks plain HTTP to the gateways; use a Service of type LoadBalancer, or TLS at the Ingress" -}}
{{- end -}}
{{- $scaling := $values.gateway.autoscaling -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- fail "gateway.autoscaling.minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- $least := ternary $scaling.minReplicas $values.gateway.replicas $scaling.enabled | int -}}
{{- if and (gt $least 1) (ge (int $values.gateway.maxUnavailable) $least) -}}
{{- fail (printf "gateway.maxUnavailable %d of %d pods: expected fewer, or nobody answers" (int $values.gateway.maxUnavailable) $least) -}}
{{- end -}}
{{- if and (gt (int $values.shards.replicas) 1) (ge (int $values.shards.maxUnavailable) (int $values.shards.replicas)) -}}
{{- fail (printf "shards.maxUnavailable %d of %d servers of a group: expected fewer, or its shards do not answer" (int $values.shards.maxUnavailable) (int $values.shards.replicas)) -}}
{{- end -}}
{{- include "vector-search.checkGroups" . -}}
{{- include "vector-search.checkPart" (list "gateway" $values.gateway (list "startupProbe" "readinessProbe" "livenessProbe")) -}}
{{- include "vector-search.checkPart" (list "shards" $values.shards (list "startupProbe" "readinessProbe" "livenessProbe")) -}}
{{- include "vector-search.checkPart" (list "controller" $values.controller (list "startupProbe" "readinessProbe" "livenessProbe")) -}}
{{- include "vector-search.checkImage" (list "image" $values.image) -}}
{{- include "vector-search.checkImage" (list "shards.image" $values.shards.image) -}}
{{- end -}}

{{- define "vector-search.checkImage" -}}
{{- $image := index . 1 -}}
{{- if not (or $image.tag $image.digest) -}}
{{- fail (printf "%s.tag: expected a tag, or %s.digest" (index . 0) (index . 0)) -}}
{{- end -}}
{{- end -}}

{{- define "vector-search.checkPart" -}}
{{- $name := index . 0 -}}
{{- $part := index . 1 -}}
{{- range index . 2 -}}
{{- $probe := index $part . -}}
{{- if gt (int $probe.timeoutSeconds) (int $probe.periodSeconds) -}}
{{- if ne . "startupProbe" -}}
{{- fail (printf "%s.%s.timeoutSeconds %d is more than periodSeconds %d" $name . (int $probe.timeoutSeconds) (int $probe.periodSeconds)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $part.drainSeconds -}}
{{- if le (int $part.terminationGracePeriodSeconds) (int $part.drainSeconds) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds %d: expected more than drainSeconds %d" $name (int $part.terminationGracePeriodSeconds) (int $part.drainSeconds)) -}}
{{- end -}}
{{- end -}}
{{- $requested := dig "requests" "memory" "" $part.resources -}}
{{- $limited := dig "limits" "memory" "" $part.resources -}}
{{- if or (not $requested) (ne $requested $limited) -}}
{{- fail (printf "%s.resources.limits.memory %q and requests.memory %q: expected the same, memory is not shared out twice" $name $limited $requested) -}}
{{- end -}}
{{- if not (dig "limits" "ephemeral-storage" "" $part.resources) -}}
{{- fail (printf "%s.resources.limits.ephemeral-storage: expected a limit" $name) -}}
{{- end -}}
{{- $managed := list "REELSPACE_S3_ENDPOINT" "AWS_REGION" "AWS_SHARED_CREDENTIALS_FILE" "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "HOME" "REELSPACE_STORE" "REELSPACE_SHARD_BYTES" "REELSPACE_SHARD_DEVICES" -}}
{{- $seen := list -}}
{{- range $part.extraEnv -}}
{{- if has .name $managed -}}
{{- fail (printf "%s.extraEnv: %s is set by the chart" $name .name) -}}
{{- end -}}
{{- if has .name $seen -}}
{{- fail (printf "%s.extraEnv: %s is given twice" $name .name) -}}
{{- end -}}
{{- $seen = append $seen .name -}}
{{- end -}}
{{- end -}}

{{- define "vector-search.checkGroups" -}}
{{- $names := list -}}
{{- range .Values.shards.groups -}}
{{- if has .name $names -}}
{{- fail (printf "shards.groups: %s is named twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- if not (include "vector-search.firstGroup" .) -}}
{{- fail "shards.groups: every group is leaving: expected one that stays" -}}
{{- end -}}
{{- $root := . -}}
{{- range (lookup "apps/v1" "StatefulSet" .Release.Namespace "").items -}}
{{- $labels := default dict .metadata.labels -}}
{{- if and (eq (index $labels "app.kubernetes.io/instance" | default "") $root.Release.Name) (eq (index $labels "app.kubernetes.io/component" | default "") "shards") -}}
{{- $group := index $labels "reelspace.io/group" -}}
{{- if and (not (has $group $names)) (ne (index (default dict .metadata.annotations) "reelspace.io/leaving" | default "") "true") -}}
{{- fail (printf "shards.groups: %s is gone from the values while its servers have shards. Set leaving: true for it and upgrade; when `reelspace search group list` shows no shards of it, leave it out and upgrade again" $group) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
