{{- define "vector-search.fullname" -}}
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

{{- /* Labels by which pods are found: they never change. Takes a list of the root and the component. */ -}}
{{- define "vector-search.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "vector-search.labels" -}}
{{- $root := index . 0 -}}
{{ include "vector-search.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: reelspace
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The metadata of an object. Takes a list of the root, the component and the name. */ -}}
{{- define "vector-search.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "vector-search.labels" . | nindent 2 }}
{{- with $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The metadata of a pod. Takes a list of the root, the component and the component's values. */ -}}
{{- define "vector-search.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
labels:
  {{- include "vector-search.labels" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) $values.podAnnotations $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "vector-search.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := default $image.registry $root.Values.imageRegistry -}}
{{- if $registry }}{{ trimSuffix "/" $registry }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag }}{{ end -}}
{{- end -}}

{{- /* What every pod has. Takes a list of the root, the component, its values and the tolerations. */ -}}
{{- define "vector-search.podSpec" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index . 2 -}}
serviceAccountName: {{ include "vector-search.fullname" $root }}-{{ $component }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with $root.Values.securityContext.runAsUser }}
  runAsUser: {{ . | int64 }}
  runAsGroup: {{ . | int64 }}
  {{- end }}
  {{- with $root.Values.securityContext.fsGroup }}
  fsGroup: {{ . | int64 }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Spread over zones and nodes. Takes a list of the root, the component and more labels. */ -}}
{{- define "vector-search.spread" -}}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "vector-search.selectorLabels" $ | nindent 8 }}
        {{- with index $ 2 }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  {{- end }}
{{- end -}}

{{- define "vector-search.containerSecurityContext" -}}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- /* The environment of every container. Takes a list of the root, the component's values and the names that the chart sets more. */ -}}
{{- define "vector-search.env" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.store.endpoint }}
- name: REELSPACE_S3_ENDPOINT
  value: {{ . | quote }}
{{- end }}
- name: AWS_REGION
  value: {{ $root.Values.store.region | quote }}
- name: AWS_SHARED_CREDENTIALS_FILE
  value: /etc/reelspace/store/{{ $root.Values.store.secretKey }}
- name: HOME
  value: /tmp
{{- range (index . 1).extraEnv }}
- {{ toYaml . | nindent 2 | trim }}
{{- end }}
{{- end -}}

{{- define "vector-search.storeVolume" -}}
- name: store
  secret:
    secretName: {{ .Values.store.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .Values.store.secretKey }}
        path: {{ .Values.store.secretKey }}
{{- end -}}

{{- define "vector-search.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{ include "vector-search.fullname" . }}-tls
{{- else -}}
{{ .Values.tls.existingSecret }}
{{- end -}}
{{- end -}}

{{- /* host:port of the gRPC of a group's servers, with commas between. Takes a list of the root and the group's name. */ -}}
{{- define "vector-search.addresses" -}}
{{- $root := index . 0 -}}
{{- $service := printf "%s-shards-%s" (include "vector-search.fullname" $root) (index . 1) -}}
{{- $addresses := list -}}
{{- range $place := until (int $root.Values.shards.replicas) -}}
{{- $addresses = append $addresses (printf "%s-%d.%s.%s.svc.%s:8001" $service $place $service $root.Release.Namespace $root.Values.clusterDomain) -}}
{{- end -}}
{{- join "," $addresses -}}
{{- end -}}

{{- /* The first group that stays: its servers are asked for what no group has yet. */ -}}
{{- define "vector-search.firstGroup" -}}
{{- $names := list -}}
{{- range .Values.shards.groups -}}
{{- if not .leaving -}}{{- $names = append $names .name -}}{{- end -}}
{{- end -}}
{{- if $names -}}{{- first $names -}}{{- end -}}
{{- end -}}
