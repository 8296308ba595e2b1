{{- define "pipelines.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Labels by which objects of a component are found: they never change. Takes a list of the root and the component. */ -}}
{{- define "pipelines.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "pipelines.labels" -}}
{{- $root := index . 0 -}}
{{ include "pipelines.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: reelspace
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The metadata of an object of the cluster. Takes a list of the root, the component, the name, and perhaps a map of more labels. */ -}}
{{- define "pipelines.clusterMetadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
labels:
  {{- include "pipelines.labels" . | nindent 2 }}
  {{- if gt (len .) 3 }}
  {{- toYaml (index . 3) | nindent 2 }}
  {{- end }}
{{- with $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The metadata of an object. Takes a list of the root, the component, the name, and perhaps a map of more annotations. */ -}}
{{- define "pipelines.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "pipelines.labels" . | nindent 2 }}
{{- $more := dict -}}
{{- if gt (len .) 3 -}}{{- $more = index . 3 -}}{{- end -}}
{{- with merge (dict) $more $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "pipelines.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := default $image.registry $root.Values.imageRegistry -}}
{{- if $registry }}{{ trimSuffix "/" $registry }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag }}{{ end -}}
{{- end -}}

{{- /* Labels that pods of trainings get from the runtime of any release, for the network policies of every namespace that trains. */ -}}
{{- define "pipelines.trainingLabels" -}}
app.kubernetes.io/component: training
app.kubernetes.io/part-of: reelspace
{{- end -}}

{{- define "pipelines.artifactsEndpoint" -}}
{{- coalesce .Values.artifacts.endpoint .Values.store.endpoint "https://s3.amazonaws.com" -}}
{{- end -}}

{{- /* The port of an address of an S3 server. */ -}}
{{- define "pipelines.port" -}}
{{- $port := ternary "80" "443" (hasPrefix "http://" .) -}}
{{- with regexFind ":[0-9]+$" . -}}{{- $port = trimPrefix ":" . -}}{{- end -}}
{{- $port -}}
{{- end -}}

{{- /* What REELSPACE_TRAIN_JOB says to scheduled trainings, as JSON. */ -}}
{{- define "pipelines.trainJob" -}}
{{- $full := include "pipelines.fullname" . -}}
{{- $runtime := .Values.trainingRuntime -}}
{{- $place := dict "image" (include "pipelines.image" (list . $runtime.image)) "runtime" $runtime.name "service_account" (printf "%s-steps" $full) -}}
{{- if .Values.queue.enabled -}}{{- $place = set $place "queue" .Values.queue.name -}}{{- end -}}
{{- with .Values.imagePullSecrets -}}
{{- $names := list -}}
{{- range . -}}{{- $names = append $names .name -}}{{- end -}}
{{- $place = set $place "image_pull_secrets" $names -}}
{{- end -}}
{{- merge (dict) .Values.trainings.place $place | toJson -}}
{{- end -}}

{{- /* What pods of a scheduled run have beside their template, as a patch in JSON: the address of the store, the file with its keys, and for
Argo's own containers what the Pod Security level `restricted` asks for. */ -}}
{{- define "pipelines.podSpecPatch" -}}
{{- $store := .Values.store -}}
{{- $env := list
  (dict "name" "REELSPACE_STORE" "value" $store.url)
  (dict "name" "REELSPACE_RUN_ID" "value" "{{workflow.name}}")
  (dict "name" "AWS_REGION" "value" $store.region)
  (dict "name" "AWS_SHARED_CREDENTIALS_FILE" "value" (printf "/etc/reelspace/store/%s" $store.secretKey)) -}}
{{- with $store.endpoint -}}{{- $env = append $env (dict "name" "REELSPACE_S3_ENDPOINT" "value" .) -}}{{- end -}}
{{- if .Values.trainings.enabled -}}
{{- $env = append $env (dict "name" "REELSPACE_TRAIN_JOB" "value" (include "pipelines.trainJob" .)) -}}
{{- end -}}
{{- $mount := dict "name" "reelspace-store" "mountPath" "/etc/reelspace/store" "readOnly" true -}}
{{- $item := dict "key" $store.secretKey "path" $store.secretKey -}}
{{- $secret := dict "secretName" $store.existingSecret "defaultMode" 0440 "items" (list $item) -}}
{{- $locked := dict "allowPrivilegeEscalation" false "capabilities" (dict "drop" (list "ALL")) -}}
{{- dict
  "initContainers" (list (dict "name" "init" "securityContext" $locked))
  "containers" (list
    (dict "name" "main" "env" $env "volumeMounts" (list $mount))
    (dict "name" "wait" "securityContext" $locked))
  "volumes" (list (dict "name" "reelspace-store" "secret" $secret)) | toJson -}}
{{- end -}}
