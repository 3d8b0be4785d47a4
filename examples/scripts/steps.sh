# Works in steps, says where it is and what that cost, and goes on after its last step when it is run again.
say() { echo '{"kind":"'"$1"'","body":'"$2"'}' >&"$TOWLINE_EVENTS"; }

steps=$(tr -dc 0-9)
step=${TOWLINE_CHECKPOINT:-0}
while [ "$step" -lt "$steps" ]; do
  step=$((step + 1))
  say progress '{"current":'$step',"total":'$steps'}'
  say metric '{"name":"cost.steps","value":0.01,"unit":"USD"}'
  say checkpoint '{"value":'$step'}'
done
echo '{"steps":'$steps'}'
