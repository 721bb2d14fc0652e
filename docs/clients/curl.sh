# A conversation with curl. Needs bash, curl and python3.
API=${API:-http://127.0.0.1:8000/api/v1}
EMAIL=${EMAIL:-ann@example.com}
JSON='Content-Type: application/json'
value() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# --8<-- [start:login]
LOGIN="{\"email\": \"$EMAIL\", \"password\": \"correct horse battery\", \"device_name\": \"A shell\"}"
PAIR=$(curl -fs "$API/auth/register" -H "$JSON" -d "$LOGIN" || curl -fsS "$API/auth/login" -H "$JSON" -d "$LOGIN")
AUTH="Authorization: Bearer $(echo "$PAIR" | value access_token)"
# --8<-- [end:login]

# --8<-- [start:tokens]
REFRESH="{\"refresh_token\": \"$(echo "$PAIR" | value refresh_token)\"}"
PAIR=$(curl -fsS "$API/auth/refresh" -H "$JSON" -d "$REFRESH")
AUTH="Authorization: Bearer $(echo "$PAIR" | value access_token)"
# --8<-- [end:tokens]

# --8<-- [start:send]
CHAT=$(curl -fsS -X POST "$API/chat/conversations" -H "$AUTH" | value id)
KEY=$(python3 -c 'import uuid; print(uuid.uuid4())')
MESSAGE="{\"content\": \"Hello! Who are you?\", \"client_message_id\": \"$KEY\"}"
# --retry is safe, because the server knows the key.
curl -fsS --retry 4 --retry-all-errors "$API/chat/conversations/$CHAT/messages" -H "$AUTH" -H "$JSON" -d "$MESSAGE"
# --8<-- [end:send]
echo

# --8<-- [start:stream]
curl -fsSN "$API/chat/conversations/$CHAT/messages" -H "$AUTH" -H "$JSON" -H 'Accept: text/event-stream' \
  -d '{"content": "Tell me about lighthouses."}'
# The same answer again, after the event `1-5`. Without Last-Event-ID: from its beginning.
REPLY="$CHAT:00000004"
curl -fsSN "$API/chat/conversations/$CHAT/messages/$REPLY/stream" -H "$AUTH" -H 'Last-Event-ID: 1-5'
curl -fsS -X POST "$API/chat/conversations/$CHAT/messages/$REPLY/stop" -H "$AUTH"
# --8<-- [end:stream]
echo

# --8<-- [start:sync]
CHANGES=$(curl -fsS "$API/chat/changes?since=0" -H "$AUTH")
SINCE=$(echo "$CHANGES" | value next_since)
curl -fsS "$API/chat/changes?since=$SINCE" -H "$AUTH"
curl -fsS "$API/chat/conversations/$CHAT/messages?after=2" -H "$AUTH"
# --8<-- [end:sync]
echo

# --8<-- [start:upload]
PICTURE=$(curl -fsS "$API/chat/attachments" -H "$AUTH" -H "Idempotency-Key: $(date +%s)" -F "file=@$FILE" | value id)
curl -fsS "$API/chat/conversations/$CHAT/messages" -H "$AUTH" -H "$JSON" \
  -d "{\"content\": \"What is this?\", \"attachment_ids\": [\"$PICTURE\"]}"
# --8<-- [end:upload]
