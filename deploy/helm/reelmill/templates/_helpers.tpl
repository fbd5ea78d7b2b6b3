{{- define "reelmill.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- end }}

{{- define "reelmill.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "reelmill.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "reelmill.labels" -}}
{{ include "reelmill.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Settings that API and workers share; secrets come by envFrom. */}}
{{- define "reelmill.env" -}}
- name: REELMILL_STORAGE_URL
  value: {{ .Values.storageUrl | quote }}
- name: REELMILL_LOG_FORMAT
  value: json
- name: REELMILL_METRICS_HOST
  value: "0.0.0.0"
- name: REELMILL_METRICS_PORT
  value: "9464"
{{- if .Values.publicUrl }}
- name: REELMILL_PUBLIC_URL
  value: {{ .Values.publicUrl | quote }}
{{- end }}
{{- if not .Values.dataClaim }}
- name: REELMILL_SPOOL
  value: "off"
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{- define "reelmill.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "reelmill.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "reelmill.mounts" -}}
volumeMounts:
  - name: data
    mountPath: /data
  - name: tmp
    mountPath: /tmp
{{- end }}

{{- define "reelmill.volumes" -}}
volumes:
  - name: data
    {{- if .Values.dataClaim }}
    persistentVolumeClaim:
      claimName: {{ .Values.dataClaim }}
    {{- else }}
    emptyDir:
      sizeLimit: {{ .Values.scratchSize }}
    {{- end }}
  - name: tmp
    emptyDir:
      sizeLimit: 1Gi
{{- end }}

{{- define "reelmill.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
