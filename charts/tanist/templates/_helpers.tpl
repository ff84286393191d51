{{- define "tanist.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "tanist.keys" -}}
{{ .Values.probeKeys.existingSecret | default "tanist-probe-keys" }}
{{- end }}

{{- /* One of the files that deploy/ has too, with the namespace of this release. */ -}}
{{- define "tanist.file" -}}
{{- $text := .root.Files.Get (printf "files/%s" .name) -}}
{{- regexReplaceAll "(?m)^( *)namespace: tanist$" $text (printf "${1}namespace: %s" .root.Release.Namespace) -}}
{{- end }}
