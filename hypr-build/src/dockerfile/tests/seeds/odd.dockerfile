
  # a comment with blanks before it
	from  scratch   as   Stage
RUN ["a"
cmd ['a']
Env A = b
ENV A $B\ c \
\
  d
LABEL a=b\=c "d"="e\"f" 'g h'=i
RUN a \   
b
RUN -- --x
RUN --mount=type=bind,"source=a b",target=/c x
COPY -- -a /b
EXPOSE $P/tcp
USER  é 
CMD x \
