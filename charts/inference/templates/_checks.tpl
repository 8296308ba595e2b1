{{- /* What a schema cannot say: values that contradict each other. Every failure names the key. */ -}}
{{- define "inference.check" -}}
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
{{- range $name := list "gateway" "triton" -}}
{{- $part := index $values $name -}}
{{- $scaling := $part.autoscaling -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling.minReplicas is more than maxReplicas" $name) -}}
{{- end -}}
{{- $least := ternary $scaling.minReplicas $part.replicas $scaling.enabled | int -}}
{{- if and (gt $least 1) (ge (int $part.maxUnavailable) $least) -}}
{{- fail (printf "%s.maxUnavailable %d of %d pods: expected fewer, or nobody answers" $name (int $part.maxUnavailable) $least) -}}
{{- end -}}
{{- end -}}
{{- include "inference.checkPart" (list "gateway" $values.gateway (list "startupProbe" "readinessProbe" "livenessProbe")) -}}
{{- include "inference.checkPart" (list "triton" $values.triton (list "startupProbe" "readinessProbe" "livenessProbe")) -}}
{{- include "inference.checkImage" (list "image" $values.image) -}}
{{- include "inference.checkImage" (list "triton.image" $values.triton.image) -}}
{{- end -}}

{{- define "inference.checkImage" -}}
{{- $image := index . 1 -}}
{{- if not (or $image.tag $image.digest) -}}
{{- fail (printf "%s.tag: expected a tag, or %s.digest" (index . 0) (index . 0)) -}}
{{- end -}}
{{- end -}}

{{- define "inference.checkPart" -}}
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
{{- $managed := list "REELSPACE_S3_ENDPOINT" "AWS_REGION" "AWS_SHARED_CREDENTIALS_FILE" "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "HOME" "REELSPACE_STORE" -}}
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
