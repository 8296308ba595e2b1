{{- /* What a schema cannot say: values that contradict each other. Every failure names the key. */ -}}
{{- define "pipelines.check" -}}
{{- $values := .Values -}}
{{- range $name := list "store" "artifacts" -}}
{{- $endpoint := (index $values $name).endpoint -}}
{{- if and (hasPrefix "http://" $endpoint) (hasSuffix ":443" $endpoint) -}}
{{- fail (printf "%s.endpoint: http on port 443: expected https" $name) -}}
{{- end -}}
{{- end -}}
{{- if $values.artifacts.enabled -}}
{{- if not $values.artifacts.bucket -}}
{{- fail "artifacts.bucket: expected the name of a bucket" -}}
{{- end -}}
{{- if not $values.artifacts.existingSecret -}}
{{- fail "artifacts.existingSecret: expected the name of a Secret with the keys of the S3 server" -}}
{{- end -}}
{{- end -}}
{{- if and $values.queue.enabled (not $values.queue.clusterQueue) -}}
{{- fail "queue.clusterQueue: expected the name of a ClusterQueue" -}}
{{- end -}}
{{- range $values.submitters -}}
{{- if and .namespace (ne .kind "ServiceAccount") -}}
{{- fail (printf "submitters: %s %s has a namespace: expected one for a ServiceAccount only" .kind .name) -}}
{{- end -}}
{{- end -}}
{{- if $values.quota.enabled -}}
{{- if and (not $values.quota.hard) (kindIs "invalid" $values.quota.gpus) -}}
{{- fail "quota.enabled: expected quota.gpus or quota.hard" -}}
{{- end -}}
{{- $key := printf "requests.%s" $values.quota.gpuResourceName -}}
{{- if and (hasKey $values.quota.hard $key) (not (kindIs "invalid" $values.quota.gpus)) -}}
{{- fail (printf "quota.hard: %s is there as quota.gpus, too: expected one of them" $key) -}}
{{- end -}}
{{- end -}}
{{- if and $values.networkPolicy.wholeNamespace (not $values.networkPolicy.enabled) -}}
{{- fail "networkPolicy.wholeNamespace: expected networkPolicy.enabled, too" -}}
{{- end -}}
{{- include "pipelines.checkTrainings" . -}}
{{- include "pipelines.checkDailyUpdate" . -}}
{{- end -}}

{{- define "pipelines.checkTrainings" -}}
{{- $runtime := .Values.trainingRuntime -}}
{{- if not (or $runtime.image.tag $runtime.image.digest) -}}
{{- fail "trainingRuntime.image.tag: expected a tag, or trainingRuntime.image.digest" -}}
{{- end -}}
{{- with $runtime.resources -}}
{{- $requested := dig "requests" "memory" "" . -}}
{{- $limited := dig "limits" "memory" "" . -}}
{{- if or (not $requested) (ne $requested $limited) -}}
{{- fail (printf "trainingRuntime.resources.limits.memory %q and requests.memory %q: expected the same, memory is not shared out twice" $limited $requested) -}}
{{- end -}}
{{- if not (dig "limits" "ephemeral-storage" "" .) -}}
{{- fail "trainingRuntime.resources.limits.ephemeral-storage: expected a limit" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.trainings.place (not .Values.trainings.enabled) -}}
{{- fail "trainings.place: expected trainings.enabled, too" -}}
{{- end -}}
{{- end -}}

{{- define "pipelines.checkDailyUpdate" -}}
{{- if .Values.dailyUpdate.enabled -}}
{{- if not .Values.store.existingSecret -}}
{{- fail "store.existingSecret: expected the name of a Secret with a file of AWS credentials" -}}
{{- end -}}
{{- $parameters := .Values.dailyUpdate.parameters -}}
{{- range list "tables_uri" "media_root" "student_id" -}}
{{- if not (get $parameters .) -}}
{{- fail (printf "dailyUpdate.parameters.%s: expected a value, the pipeline has no default" .) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := $parameters -}}
{{- if contains "{{" (toJson $value) -}}
{{- fail (printf "dailyUpdate.parameters.%s holds double braces, which Argo would fill in" $name) -}}
{{- end -}}
{{- end -}}
{{- if .Values.trainings.enabled -}}
{{- $place := .Values.trainings.place -}}
{{- if not (or $place.store_secret (dig "task_config" "env" "" $place)) -}}
{{- fail "trainings.place.store_secret: expected the name of a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or both in task_config.env" -}}
{{- end -}}
{{- if contains "{{" (toJson $place) -}}
{{- fail "trainings.place holds double braces, which Argo would fill in" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
