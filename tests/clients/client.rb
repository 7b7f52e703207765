# ruby client.rb MODE URL PICTURE: sends the picture as a Ruby program would and prints the status.
require "base64"
require "json"
require "net/http"

mode, url, path = ARGV
uri = URI(url)
request = Net::HTTP::Post.new(uri)
case mode
when "form"
  request.set_form([["comment", "text"], ["file", File.open(path, "rb")]], "multipart/form-data")
when "json"
  request.content_type = "application/json"
  request.body = { image: Base64.encode64(File.binread(path)) }.to_json
else
  request.body = File.binread(path)
end
puts Net::HTTP.start(uri.host, uri.port) { |http| http.request(request) }.code
