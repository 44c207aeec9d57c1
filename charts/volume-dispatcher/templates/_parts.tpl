{{- define "vd.labels" -}}
app.kubernetes.io/name: volume-dispatcher
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "vd.selector" -}}
app.kubernetes.io/name: volume-dispatcher
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vd.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* Environment that controller and agent share. */ -}}
{{- define "vd.env" -}}
- {name: CLUSTER_NAME, value: {{ .Values.clusterName | quote }}}
- {name: LOG, value: {{ .Values.log | quote }}}
- {name: LOG_FORMAT, value: {{ .Values.logFormat | quote }}}
{{- with .Values.aws.region }}
- {name: AWS_REGION, value: {{ . | quote }}}
{{- end }}
{{- with .Values.aws.endpointURL }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- $rates := list }}
{{- range $action, $rate := .Values.aws.rates }}
{{- $rates = append $rates (printf "%s=%s" $action $rate) }}
{{- end }}
{{- with $rates }}
- {name: EC2_RATES, value: {{ join "," . | quote }}}
{{- end }}
{{- with .Values.aws.credentialsSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ . }}, key: access_key_id}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: secret_access_key}}
{{- end }}
{{- end }}
