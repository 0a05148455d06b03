FROM scratch
RUN <<EOF
a
# not a comment
EOF
RUN <<-'E' cat <<"F G" >x
	tabs
	E
 $x
F G
COPY <<one <<-two three /d/
$x ${y:-z}
one
	t
	two
ADD --chmod=600 <<'EOF' /e
\$
EOF
RUN 3<<A cat && b
A
ONBUILD COPY <<O /o
in the trigger
O
