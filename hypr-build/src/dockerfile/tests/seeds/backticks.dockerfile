# escape=`
FROM a AS build
RUN dir `
  c:\ `
  # comment

COPY ["a", "c:\\d"]
ENV A=b` c D="e`"f"
RUN <<EOF
`
EOF
