{{/* Name of the operator's objects. It is also the name of a Service, so it must be a DNS label that starts with a letter. */}}
{{- define "posecluster.fullname" -}}
{{- $suffix := contains "posecluster" .Release.Name | ternary "operator" "posecluster-operator" -}}
{{- $made := printf "%s-%s" (.Release.Name | replace "." "-") $suffix | trunc 63 | trimSuffix "-" -}}
{{- $name := .Values.fullnameOverride | default $made -}}
{{- if not (regexMatch "^[a-z]" $name) -}}
{{- fail (printf "a Service cannot be named %s, because a letter must come first: set fullnameOverride" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* Labels that select the operator's pods. They must never change, because a Deployment's selector is immutable. */}}
{{- define "posecluster.selector" -}}
app.kubernetes.io/name: posecluster-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of every object, including the user's, which cannot override ours or `component`. */}}
{{- define "posecluster.labels" -}}
{{- $ours := dict
  "app.kubernetes.io/name" "posecluster-operator"
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/part-of" "posecluster"
  "app.kubernetes.io/version" (.Chart.AppVersion | toString)
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_"))
-}}
{{- merge $ours (omit (.Values.commonLabels | default dict) "app.kubernetes.io/component") | toYaml -}}
{{- end -}}

{{- define "posecluster.serviceAccount" -}}
{{- .Values.operator.serviceAccount.name | default (include "posecluster.fullname" .) -}}
{{- end -}}

{{/* An image reference, from (dict "image" … "version" …). */}}
{{- define "posecluster.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .version) -}}
{{- end -}}
{{- end -}}

{{/* Security context of the chart's pods, with the ids that are set. Helm parses numbers as floating-point numbers. */}}
{{- define "posecluster.podSecurityContext" -}}
runAsNonRoot: true
{{- range $name, $id := .Values.operator.podSecurityContext }}
{{ $name }}: {{ int64 $id }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The user's tolerations, and 30 s for taints of failed nodes that these do not cover, as in builders/deployment.py. */}}
{{- define "posecluster.tolerations" -}}
{{- $all := . | default list -}}
{{- range $key := list "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" -}}
{{- $covered := false -}}
{{- range $ -}}
{{- if and (eq (.key | default $key) $key) (eq (.effect | default "NoExecute") "NoExecute") -}}
{{- $covered = true -}}
{{- end -}}
{{- end -}}
{{- if not $covered -}}
{{- $all = append $all (dict "key" $key "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" 30) -}}
{{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* RBAC rules of one group of files/permissions.yaml, from (list root group). The Lease has the name of the operator. */}}
{{- define "posecluster.rules" -}}
{{- $rules := index ((index . 0).Files.Get "files/permissions.yaml" | fromYaml) (index . 1) -}}
{{- range required "files/permissions.yaml lacks rules: run make manifests" $rules -}}
{{- if .resourceNames }}{{ $_ := set . "resourceNames" (list (include "posecluster.fullname" (index $ 0))) }}{{ end -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{/* Environment variables of the operator, from the values. */}}
{{- define "posecluster.environment" -}}
{{- $set := dict
  "namespaces" (join "," .Values.operator.namespaces)
  "watchNodes" (empty .Values.operator.watchNodes | ternary "" "true")
  "allowedPodLabels" (join "," .Values.operator.allowedPodLabels)
  "allowedPodAnnotations" (join "," .Values.operator.allowedPodAnnotations)
  "leaseNamespace" .Release.Namespace
  "leaseName" (include "posecluster.fullname" .)
  "inferenceImage" (include "posecluster.image" (dict "image" .Values.inference.image "version" .Chart.AppVersion))
  "inferenceImagePullPolicy" .Values.inference.image.pullPolicy
  "inferenceOtlpEndpoint" .Values.inference.otlpEndpoint
  "logFormat" .Values.operator.logFormat
-}}
{{- $secrets := list -}}
{{- range .Values.inference.image.pullSecrets }}{{ $secrets = append $secrets .name }}{{ end -}}
{{- $_ := set $set "inferenceImagePullSecrets" (join "," $secrets) -}}
{{- range $name, $id := .Values.inference.podSecurityContext }}
{{- $_ := set $set (printf "inference%s" (title $name)) (int64 $id | toString) }}
{{- end -}}
{{- range $name, $value := merge $set (.Values.operator.settings | default dict) }}
{{- if not (empty $value) }}
- name: POSECLUSTER_OPERATOR_{{ $name | snakecase | upper }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Renders nothing, but fails if another release also watches all namespaces. Helm itself refuses a second release of this name. */}}
{{- define "posecluster.alone" -}}
{{- $ours := printf "%s/%s" .Release.Namespace .Release.Name -}}
{{- $name := include "posecluster.fullname" . -}}
{{- range (lookup "rbac.authorization.k8s.io/v1" "ClusterRoleBinding" "" "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $notes := .metadata.annotations | default dict -}}
{{- $theirs := printf "%s/%s" (index $notes "meta.helm.sh/release-namespace") (index $notes "meta.helm.sh/release-name") -}}
{{- if and (eq "posecluster-operator" (index $labels "app.kubernetes.io/name" | default "")) (ne .metadata.name $name) (ne $theirs $ours) -}}
{{- fail (printf "%s watches all namespaces already, and two operators would write against each other: set operator.namespaces, in both releases, or upgrade that one" .metadata.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* `true` if the policy for the operator's account is rendered. `helm template` without a cluster knows no kinds, not even Pod, but a version. */}}
{{- define "posecluster.hasAdmissionPolicy" -}}
{{- $enabled := .Values.admissionPolicy.enabled | toString -}}
{{- if ne $enabled "auto" -}}
{{- $enabled -}}
{{- else if .Values.operator.namespaces -}}
false
{{- else if .Capabilities.APIVersions.Has "v1/Pod" -}}
{{- .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy" -}}
{{- else -}}
{{- semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version -}}
{{- end -}}
{{- end -}}

{{/* A regular expression in JSON for the keys that a list of patterns allows, such as `example.com/*`. */}}
{{- define "posecluster.keyPattern" -}}
{{- $patterns := list -}}
{{- range . }}{{ $patterns = append $patterns (regexQuoteMeta . | replace "\\*" ".*") }}{{ end -}}
{{- printf "^(%s)$" (join "|" $patterns) | toJson -}}
{{- end -}}
