{{/* Labels of a part; called with (list $ "gate"). */}}
{{- define "taglock.selector" -}}
app.kubernetes.io/name: taglock
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "taglock.labels" -}}
{{ include "taglock.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
{{- end }}

{{/* What a pod may do: nothing but its work. */}}
{{- define "taglock.podSecurity" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  fsGroup: {{ . }}
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "taglock.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The container of a part of Taglock, but its command, ports and probes. */}}
{{- define "taglock.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{ include "taglock.containerSecurity" . }}
volumeMounts:
  - {name: data, mountPath: /var/lib/taglock}
  - {name: tmp, mountPath: /tmp}
  - {name: secret, mountPath: /etc/taglock/secret, readOnly: true}
{{- end }}

{{- define "taglock.environment" -}}
- {name: ALLOWED_HOSTS, value: {{ list .Values.siteHost .Values.registryHost | uniq | join "," | quote }}}
- {name: BEHIND_EDGE, value: "true"}
- {name: PUBLIC_URL, value: {{ printf "https://%s" .Values.siteHost | quote }}}
- {name: REGISTRY_URL, value: {{ .Values.registryUrl | quote }}}
- {name: SECRET_KEY_FILE, value: /etc/taglock/secret/secret-key}
- {name: DATABASE_URL_FILE, value: /etc/taglock/secret/database-url}
- {name: REDIS_URL_FILE, value: /etc/taglock/secret/redis-url}
- {name: LOG_KEY_FILE, value: /etc/taglock/secret/lock-log-key}
{{- range $name, $key := .Values.secretFiles }}
- {name: {{ $name }}, value: /etc/taglock/secret/{{ $key }}}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "taglock.volumes" -}}
- {name: data, emptyDir: {}}
- {name: tmp, emptyDir: {}}
- name: secret
  secret: {secretName: {{ .Values.secret }}, defaultMode: 0440}
{{- end }}

{{- define "taglock.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "taglock.selector" . | nindent 8 }}
{{- end }}
